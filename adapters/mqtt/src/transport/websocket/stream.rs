//! The bytes in a WebSocket, as a stream like any other.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Code, Frames, put_binary, put_close};
use crate::limits::WEBSOCKET_MESSAGE_BYTES;

/// A WebSocket whose handshake is done. What is written leaves in binary messages; what is read are the bytes of such messages.
pub(crate) struct WebSocket<S> {
    stream: S,
    frames: Frames,
    /// Whole frames that the stream has not taken yet. Given back when it is empty: a connection that waits holds none.
    outgoing: BytesMut,
    /// Whether the stream was not flushed since a message was written. Whether that may leave its writer says, by writing on or flushing.
    has_message: bool,
    /// A Close is sent, or among the outgoing: no message may follow it.
    is_closing: bool,
    /// The peer sends no more.
    is_ended: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            frames: Frames::new(),
            outgoing: BytesMut::new(),
            has_message: false,
            is_closing: false,
            is_ended: false,
        }
    }

    /// Hands over the outgoing frames.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.outgoing))?;
            if sent == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(sent);
        }
        self.outgoing = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Hands over answers, and what the stream held back of them, as far as that goes now. Behind a message they wait for that.
    fn answer(&mut self, context: &mut Context<'_>) {
        if self.has_message {
            return;
        }
        if let Poll::Ready(Ok(())) = self.poll_send(context) {
            // Who does not take it notices when the connection is used next.
            let _ = Pin::new(&mut self.stream).poll_flush(context);
        }
    }

    fn close(&mut self, code: Code) {
        if !self.is_closing {
            put_close(&mut self.outgoing, code);
            self.is_closing = true;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.outgoing.is_empty() {
                this.answer(context);
            }
            if this.is_ended {
                return Poll::Ready(Ok(()));
            }
            let before = room.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(context, room))?;
            let received = &mut room.filled_mut()[before..];
            if received.is_empty() {
                this.is_ended = true;
                return Poll::Ready(Ok(()));
            }
            match this.frames.decode(received, &mut this.outgoing) {
                Ok(decoded) => {
                    room.set_filled(before + decoded.payload);
                    this.is_ended = decoded.is_closed;
                    this.is_closing |= decoded.is_closed;
                    if decoded.payload > 0 {
                        return Poll::Ready(Ok(()));
                    }
                }
                Err(code) => {
                    room.set_filled(before);
                    this.close(code);
                    this.answer(context);
                    let fault = format!("it breaks the protocol of WebSocket ({})", code as u16);
                    return Poll::Ready(Err(io::Error::new(ErrorKind::InvalidData, fault)));
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    /// Takes up to [`WEBSOCKET_MESSAGE_BYTES`] once everything before is handed over.
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        if this.is_closing {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(WEBSOCKET_MESSAGE_BYTES);
        put_binary(&mut this.outgoing, &bytes[..count]);
        this.has_message = true;
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        this.has_message = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.close(Code::Normal);
        ready!(this.poll_send(context))?;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Bytes that the stream below holds.
    const STREAM_BYTES: usize = 64;
    /// A ping, masked with zeros.
    const PING: [u8; 6] = [0x89, 0x80, 0, 0, 0, 0];
    const PONG: [u8; 2] = [0x8a, 0];

    /// Has `socket` read once what there is to be read.
    fn read(socket: &mut WebSocket<impl AsyncRead + AsyncWrite + Unpin>) {
        let mut room = [0; 16];
        let mut context = Context::from_waker(std::task::Waker::noop());
        let read = Pin::new(socket).poll_read(&mut context, &mut ReadBuf::new(&mut room));
        assert!(read.is_pending());
    }

    #[tokio::test]
    async fn reading_hands_over_answers_but_nothing_of_a_message() {
        let (near, mut far) = duplex(STREAM_BYTES);
        let mut socket = WebSocket::new(near);
        far.write_all(&PING).await.unwrap();
        read(&mut socket);
        let mut pong = [0; PONG.len()];
        far.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, PONG);

        let message = [b'x'; 2 * STREAM_BYTES];
        assert_eq!(socket.write(&message).await.unwrap(), message.len());
        far.write_all(&PING).await.unwrap();
        let mut part = [0; STREAM_BYTES];
        far.read_exact(&mut part).await.unwrap();
        read(&mut socket);
        assert!(far.read_u8().now_or_never().is_none());

        let rest = tokio::spawn(async move {
            let mut rest = vec![0; 4 + message.len() - STREAM_BYTES + PONG.len()];
            far.read_exact(&mut rest).await.unwrap();
            rest
        });
        socket.flush().await.unwrap();
        assert!(rest.await.unwrap().ends_with(&PONG));
    }
}
