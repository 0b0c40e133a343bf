//! Bytes between a stream and the buffers of a connection.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

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
    stream: Pin<&mut S>,
    context: &mut Context<'_>,
    output: &mut BytesMut,
    untaken: &mut Untaken,
) -> Poll<io::Result<Transfer>> {
    if untaken.is_withheld() || (output.is_empty() && untaken.is_flushed()) {
        return Poll::Pending;
    }
    if !untaken.is_granted() {
        untaken.withhold();
        return Poll::Ready(Ok(Transfer::Withheld));
    }
    poll_give(stream, context, output, untaken)
}

/// Gives the stream output, of which it has handed on all that it was given before: else nobody would know how far a client is that always
/// has something to take.
fn poll_give<S: AsyncWrite>(
    mut stream: Pin<&mut S>,
    context: &mut Context<'_>,
    output: &mut BytesMut,
    untaken: &mut Untaken,
) -> Poll<io::Result<Transfer>> {
    if !untaken.is_flushed() {
        ready!(stream.as_mut().poll_flush(context))?;
        untaken.flushed();
        return Poll::Ready(Ok(Transfer::Flushed));
    }
    let sent = ready!(stream.as_mut().poll_write(context, output))?;
    if sent == 0 {
        return Poll::Ready(Err(ErrorKind::WriteZero.into()));
    }
    untaken.gave(output, sent);
    output.advance(sent);
    if output.is_empty() {
        *output = BytesMut::new();
    }
    if stream.poll_flush(context)?.is_ready() {
        untaken.flushed();
    }
    Poll::Ready(Ok(Transfer::Sent))
}

fn poll_receive<S: AsyncRead>(
    stream: Pin<&mut S>,
    context: &mut Context<'_>,
    input: &mut BytesMut,
) -> Poll<io::Result<Transfer>> {
    let mut room = [MaybeUninit::uninit(); READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(stream.poll_read(context, &mut buffer))?;
    let received = buffer.filled();
    if received.is_empty() {
        return Poll::Ready(Ok(Transfer::End));
    }
    if input.is_empty() {
        // A buffer of its own size: what is kept of it later keeps no more than this alive.
        *input = BytesMut::from(received);
    } else {
        let bytes = input.len() + received.len();
        if bytes > input.capacity() {
            // By pieces that are a little smaller, doubling would end at nearly twice the room of the largest CONNECT.
            input.reserve(bytes.next_power_of_two() - input.len());
        }
        input.extend_from_slice(received);
    }
    Poll::Ready(Ok(Transfer::Received))
}

/// Hands over what is written and closes, once the session is left; of messages only while it is certain that they may leave. What the peer
/// still sends is read and thrown away: closing with unread bytes would make the system throw away what the peer has not read yet.
///
/// # Errors
/// The stream takes no more, or it has a part of a message that may not leave any more.
pub(super) async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    output: &mut BytesMut,
    untaken: &mut Untaken,
    left: impl Future,
) -> io::Result<()> {
    let mut may_have_messages = true;
    let handed_over = poll_fn(|context| {
        while !output.is_empty() || !untaken.is_flushed() {
            // Asked whenever more may leave: nobody is told any more that permissions lapsed, or came back.
            if may_have_messages && !untaken.is_granted() {
                if !untaken.leave_out_messages(output) {
                    return Poll::Ready(Err(io::Error::from(ErrorKind::PermissionDenied)));
                }
                may_have_messages = false;
            } else {
                ready!(poll_give(Pin::new(&mut *stream), context, output, untaken))?;
            }
        }
        Poll::Ready(Ok(()))
    });
    handed_over.await?;
    left.await;
    stream.shutdown().await?;
    let mut room = [0; 512];
    while stream.read(&mut room).await? > 0 {}
    Ok(())
}
