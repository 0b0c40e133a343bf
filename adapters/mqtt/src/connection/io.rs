//! Bytes between a stream and the buffers of a connection.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::limits::READ_BYTES;

/// What happened on a stream.
pub(super) enum Transfer {
    /// Bytes were added to the input.
    Received,
    /// Bytes were taken off the output.
    Sent,
    /// The stream holds nothing back.
    Flushed,
    /// The peer sends no more.
    End,
}

/// Waits until the stream takes output or, if it `may_read`, gives input. Cancel safe.
///
/// What arrives is read through the stack, so that a connection that waits holds no buffer.
pub(super) fn transfer<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    output: &mut BytesMut,
    input: &mut BytesMut,
    is_flushed: &mut bool,
    may_read: bool,
) -> impl Future<Output = io::Result<Transfer>> {
    poll_fn(move |context| {
        if let Poll::Ready(sent) = poll_send(Pin::new(&mut *stream), context, output, is_flushed) {
            return Poll::Ready(sent);
        }
        if may_read {
            return poll_receive(Pin::new(&mut *stream), context, input);
        }
        Poll::Pending
    })
}

fn poll_send<S: AsyncWrite>(
    mut stream: Pin<&mut S>,
    context: &mut Context<'_>,
    output: &mut BytesMut,
    is_flushed: &mut bool,
) -> Poll<io::Result<Transfer>> {
    if !output.is_empty() {
        let sent = std::task::ready!(stream.poll_write(context, output))?;
        if sent == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        output.advance(sent);
        *is_flushed = false;
        if output.is_empty() {
            *output = BytesMut::new();
        }
        return Poll::Ready(Ok(Transfer::Sent));
    }
    if !*is_flushed {
        std::task::ready!(stream.as_mut().poll_flush(context))?;
        *is_flushed = true;
        return Poll::Ready(Ok(Transfer::Flushed));
    }
    Poll::Pending
}

fn poll_receive<S: AsyncRead>(
    stream: Pin<&mut S>,
    context: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<Transfer>> {
    let mut room = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut room);
    std::task::ready!(stream.poll_read(context, &mut buffer))?;
    let received = buffer.filled();
    if received.is_empty() {
        return Poll::Ready(Ok(Transfer::End));
    }
    if input.is_empty() {
        // A buffer of its own size: what is kept of it later keeps no more than this alive.
        *input = BytesMut::from(received);
    } else {
        input.extend_from_slice(received);
    }
    Poll::Ready(Ok(Transfer::Received))
}

/// Hands over what is written and closes, once the session is left. What the peer still sends is read and thrown away: closing with unread bytes would
/// make the system throw away what the peer has not read yet.
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    output: &mut BytesMut,
    left: impl Future,
) -> io::Result<()> {
    stream.write_all_buf(output).await?;
    stream.flush().await?;
    left.await;
    stream.shutdown().await?;
    let mut room = [0; 512];
    while stream.read(&mut room).await? > 0 {}
    Ok(())
}
