//! Bytes between a stream and the buffers of a connection.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use super::untaken::Untaken;
use crate::limits::READ_BYTES;

/// What happened on a stream.
pub(super) enum Transfer {
    /// Bytes were added to the input.
    Received,
    /// Bytes were taken off the output.
    Sent,
    /// The stream holds nothing back.
    Flushed,
    /// The output may not leave, or not yet: permissions have lapsed. To be told once.
    Withheld,
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
    untaken: &mut Untaken,
    may_read: bool,
) -> impl Future<Output = io::Result<Transfer>> {
    poll_fn(move |context| {
        if let Poll::Ready(sent) = poll_send(Pin::new(&mut *stream), context, output, untaken) {
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
    untaken: &mut Untaken,
) -> Poll<io::Result<Transfer>> {
    if untaken.is_withheld() || (output.is_empty() && untaken.is_flushed) {
        return Poll::Pending;
    }
    if !untaken.is_granted() {
        untaken.withhold();
        return Poll::Ready(Ok(Transfer::Withheld));
    }
    if !output.is_empty() {
        let sent = std::task::ready!(stream.poll_write(context, output))?;
        if sent == 0 {
            return Poll::Ready(Err(ErrorKind::WriteZero.into()));
        }
        output.advance(sent);
        untaken.is_flushed = false;
        if output.is_empty() {
            *output = BytesMut::new();
        }
        return Poll::Ready(Ok(Transfer::Sent));
    }
    std::task::ready!(stream.as_mut().poll_flush(context))?;
    untaken.is_flushed = true;
    Poll::Ready(Ok(Transfer::Flushed))
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
///
/// # Errors
/// The stream takes no more, or what is written may not be handed over any more.
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    output: &mut BytesMut,
    untaken: &mut Untaken,
    left: impl Future,
) -> io::Result<()> {
    while !output.is_empty() || !untaken.is_flushed {
        let is_withheld = untaken.is_withheld();
        let send = poll_fn(|context| poll_send(Pin::new(&mut *stream), context, output, untaken));
        if is_withheld || matches!(send.await?, Transfer::Withheld) {
            return Err(ErrorKind::PermissionDenied.into());
        }
    }
    left.await;
    stream.shutdown().await?;
    let mut room = [0; 512];
    while stream.read(&mut room).await? > 0 {}
    Ok(())
}
