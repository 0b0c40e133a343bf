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

    /// The same, and what the stream held back, as far as that goes now.
    fn send(&mut self, context: &mut Context<'_>) {
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
                this.send(context);
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
                    this.send(context);
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
        match this.poll_send(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(count)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(context))?;
        Pin::new(&mut this.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.close(Code::Normal);
        ready!(this.poll_send(context))?;
        ready!(Pin::new(&mut this.stream).poll_flush(context))?;
        Pin::new(&mut this.stream).poll_shutdown(context)
    }
}
