//! The task of one connection: it carries bytes between a socket and the machine, and decisions between the machine and the
//! platform. It holds no buffer while it has nothing to carry.

mod earlier;
mod end;
mod inbound;
mod io;
mod keeping;
mod member;
mod open;
mod outbound;
mod owing;
mod recheck;
mod resend;
mod shares;
mod subscribe;
mod untaken;
mod will;

pub(crate) use inbound::publication;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use trunkline_bus::log::{AppendError, Appended, Receipt};
use trunkline_core::{ChannelId, DomainId};
use trunkline_gate::PublishTrace;

use crate::adapter::Adapter;
use crate::limits::{ACK_TIME_MAX, BUSY_TIME_MAX, OUTPUT_BYTES_STOP, STALL_TIME_MAX};
use crate::machine::{Cause, Machine, Step};
use crate::transport::{Arrival, Socket};
use inbound::Done;
use io::Transfer;
use member::Member;
use outbound::{Outbound, finished};
use untaken::Untaken;

/// One connection.
pub(crate) struct Connection<S> {
    adapter: Arc<Adapter>,
    stream: S,
    socket: Socket<S>,
    machine: Machine,
    input: BytesMut,
    output: BytesMut,
    untaken: Untaken,
    /// One per message at QoS 1 or 2 that the log has taken, in their order.
    receipts: VecDeque<Taken>,
    /// The last retained message at QoS 0, until the log has it: those before it are there first.
    retaining: Option<Receipt>,
    /// What the next packet has to wait for.
    work: Option<BoxFuture<'static, Done>>,
    /// Where the log ended before the message that is being appended, as far as was known.
    head: u64,
    /// Where that message goes, if nobody subscribes to it now and its client is to know.
    unheard: Option<Box<Unheard>>,
    /// When the last packet was read: the one that `work` is for.
    asked: Instant,
    /// What is recorded of that packet, if it is a publish.
    trace: PublishTrace,
    member: Option<Box<Member>>,
    opened: Instant,
    /// When bytes were last taken by the peer, or there were none to take.
    moved: Instant,
    /// How it ends, once that is to be.
    ending: Option<Ending>,
}

/// Ends that take their time.
enum Ending {
    /// The node ends.
    Drain,
    /// Another connection has the session.
    HandOver,
}

/// A message that the log has taken.
struct Taken {
    receipt: Receipt,
    /// Where the log ended before it, as far as was known.
    head: u64,
    /// When the message came.
    asked: Instant,
    trace: PublishTrace,
    unheard: Option<Box<Unheard>>,
}

/// Where a message goes to which nobody subscribed when it came.
struct Unheard {
    place: (DomainId, ChannelId),
    subtopic: Box<str>,
}

/// What came of the oldest message that the log had taken.
struct Settled {
    outcome: Result<Appended, AppendError>,
    unheard: Option<Box<Unheard>>,
}

/// What a connection woke up for.
enum Event {
    Transfer(std::io::Result<Transfer>),
    Receipt(Settled),
    Done(Done),
    Outbound(Outbound),
    Tick,
    Drain,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection<S> {
    pub(crate) fn new(adapter: Arc<Adapter>, stream: S, socket: Socket<S>) -> Self {
        let machine = Machine::new(adapter.settings, Duration::ZERO);
        Self {
            adapter,
            stream,
            socket,
            machine,
            input: BytesMut::new(),
            output: BytesMut::new(),
            untaken: Untaken::default(),
            receipts: VecDeque::new(),
            retaining: None,
            work: None,
            head: 0,
            unheard: None,
            asked: Instant::now(),
            trace: PublishTrace::default(),
            member: None,
            opened: Instant::now(),
            moved: Instant::now(),
            ending: None,
        }
    }

    /// Serves the client to the end.
    pub(crate) async fn run(mut self, arrival: Box<Arrival>, cancel: &CancellationToken) -> Cause {
        // What is done once is boxed: its future is far larger than that of a client at rest, and would be as long there.
        let cause = match Box::pin(self.begin(arrival, cancel)).await {
            Ok(()) => self.attend(cancel).await,
            Err(cause) => cause,
        };
        Box::pin(self.end(cause)).await;
        cause
    }

    /// Has the client admitted in time. Its place among unfinished handshakes is given back then.
    async fn begin(&mut self, arrival: Box<Arrival>, cancel: &CancellationToken) -> Result<(), Cause> {
        let Arrival {
            deadline,
            handshake: _handshake,
            certified,
            ..
        } = *arrival;
        tokio::select! {
            () = cancel.cancelled() => Err(Cause::Draining),
            opened = timeout_at(deadline, self.open(certified)) => opened.unwrap_or(Err(Cause::Handshake)),
        }
    }

    /// Serves an admitted client until it goes or has to.
    async fn attend(&mut self, cancel: &CancellationToken) -> Cause {
        self.moved = Instant::now();
        let timer = sleep_until(self.next_tick());
        tokio::pin!(timer);
        loop {
            self.make_room();
            if let Err(cause) = self.advance() {
                return cause;
            }
            self.note_taken();
            if let Some(deadline) = self.deadline()
                && deadline < timer.deadline()
            {
                timer.as_mut().reset(deadline);
            }
            let event = self.event(cancel, &mut timer).await;
            if let Err(cause) = self.handle(event) {
                return cause;
            }
            match self.ending {
                Some(Ending::Drain) => return self.drain().await,
                Some(Ending::HandOver) => return self.hand_over().await,
                None => {}
            }
            if timer.is_elapsed() {
                timer.as_mut().reset(self.next_tick());
            }
        }
    }

    /// Waits for something to do. Cancel safe: every branch either happened and is returned, or did not happen.
    async fn event(&mut self, cancel: &CancellationToken, timer: &mut std::pin::Pin<&mut tokio::time::Sleep>) -> Event {
        let may_read = self.work.is_none() && self.machine.may_read() && self.output_bytes() < OUTPUT_BYTES_STOP;
        let has_room = self.has_room();
        let Self {
            stream,
            output,
            input,
            untaken,
            receipts,
            work,
            member,
            ..
        } = self;
        tokio::select! {
            () = cancel.cancelled() => Event::Drain,
            outbound = outbound::wait(member, has_room) => Event::Outbound(outbound),
            done = finished(work) => Event::Done(done),
            receipt = first_of(receipts) => Event::Receipt(receipt),
            transfer = io::transfer(stream, output, input, untaken, may_read) => Event::Transfer(transfer),
            () = timer => Event::Tick,
        }
    }

    /// Notes when the client has nothing to take. What the system still has counts as taken then.
    fn note_taken(&mut self) {
        if self.output.is_empty() {
            self.moved = Instant::now();
            if self.untaken.is_flushed() {
                self.untaken.forget_taken(0);
            }
        }
    }

    /// Has messages by further subscriptions written again, if the client has taken some. Nothing else tells that they may be.
    fn make_room(&mut self) {
        if !self.untaken.has_room() {
            self.note_taken();
            self.forget_taken();
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), Cause> {
        match event {
            Event::Transfer(Ok(Transfer::Received)) => Ok(()),
            Event::Transfer(Ok(Transfer::Sent | Transfer::Flushed)) => {
                self.moved = Instant::now();
                Ok(())
            }
            Event::Transfer(Ok(Transfer::Withheld)) => {
                self.withheld();
                Ok(())
            }
            Event::Transfer(Ok(Transfer::End) | Err(_)) => Err(Cause::Lost),
            Event::Receipt(settled) => self.settle(&settled),
            Event::Done(done) => {
                // Nobody listened meanwhile.
                self.machine.held_back(self.opened.elapsed());
                self.done(done)
            }
            Event::Outbound(outbound) => self.handle_outbound(outbound),
            Event::Tick => self.tick(),
            Event::Drain => {
                self.ending = Some(Ending::Drain);
                Ok(())
            }
        }
    }

    /// Answers one receipt, and those after it that are there already.
    fn settle(&mut self, settled: &Settled) -> Result<(), Cause> {
        self.answer(settled)?;
        self.settle_ready()
    }

    /// Tells the client what came of the oldest message that the log has taken.
    fn answer(&mut self, Settled { outcome, unheard }: &Settled) -> Result<(), Cause> {
        if let Err(error) = outcome {
            self.adapter.metrics.publish_refused.count(error);
        }
        // Looked at when it came, and again now that the log has it: who subscribed in between gets it.
        let is_unheard = |unheard: &Unheard| self.adapter.is_unheard(unheard.place, &unheard.subtopic);
        if unheard.as_deref().is_some_and(is_unheard) {
            self.machine.unheard();
        }
        let step = self.machine.appended(outcome.as_ref().map(|_| ()), &mut self.output);
        ended(&step)
    }

    /// Answers the receipts that are there.
    fn settle_ready(&mut self) -> Result<(), Cause> {
        while let Some(taken) = self.receipts.front_mut() {
            let Some(outcome) = (&mut taken.receipt).now_or_never() else {
                break;
            };
            let unheard = taken.unheard.take();
            taken.trace.settled(outcome.as_ref());
            self.receipts.pop_front();
            self.answer(&Settled { outcome, unheard })?;
        }
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Cause> {
        if !self.output.is_empty() && self.moved.elapsed() >= STALL_TIME_MAX {
            return Err(Cause::Lost);
        }
        let is_over = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let step = if is_over(self.receipt_deadline()) {
            self.machine.failed(&mut self.output)
        } else if is_over(self.busy_deadline()) {
            self.machine.busy(&mut self.output)
        } else if self.work.is_some() {
            Step::Continue
        } else {
            self.machine.tick(self.opened.elapsed(), &mut self.output)
        };
        ended(&step)
    }

    /// When the oldest publish that the log took must have its answer (reliability.md B3, rule 5).
    fn receipt_deadline(&self) -> Option<Instant> {
        self.receipts.front().map(|taken| taken.asked + ACK_TIME_MAX)
    }

    /// When what the next packet waits for, and the permissions of the session, must be known.
    fn busy_deadline(&self) -> Option<Instant> {
        let asked = self.work.is_some().then_some(self.asked);
        let member = self.member.as_ref();
        let uncertain = member.and_then(|member| member.uncertain_since);
        let unsaved = member.and_then(|member| member.keeping.as_ref()?.waiting_since());
        let since = asked.into_iter().chain(uncertain).chain(unsaved).min();
        since.map(|since| since + BUSY_TIME_MAX)
    }

    /// When something is due that no event tells.
    fn deadline(&self) -> Option<Instant> {
        let save = self.member.as_ref().and_then(|member| member.keeping.as_ref()?.due());
        let answers = self.receipt_deadline().into_iter().chain(self.busy_deadline());
        answers.chain(save).min()
    }

    /// When to look at keep alive, answers and stalls next. Being heard meanwhile costs nothing: the timer is set anew when it fires.
    fn next_tick(&self) -> Instant {
        let stall = Instant::now() + STALL_TIME_MAX;
        let keep_alive = self.machine.deadline().filter(|_| self.work.is_none());
        let keep_alive = keep_alive.map(|deadline| self.opened + deadline);
        let deadlines = keep_alive.into_iter().chain(self.deadline());
        deadlines.fold(stall, Instant::min)
    }
}

/// The end of a connection, if a step that asks for nothing outside is one.
const fn ended(step: &Step) -> Result<(), Cause> {
    match step {
        Step::Close(cause) => Err(*cause),
        _ => Ok(()),
    }
}

/// The outcome of the oldest message; never, while there is none. Cancel safe.
async fn first_of(receipts: &mut VecDeque<Taken>) -> Settled {
    let Some(taken) = receipts.front_mut() else {
        return std::future::pending().await;
    };
    let outcome = (&mut taken.receipt).await;
    let unheard = taken.unheard.take();
    taken.trace.settled(outcome.as_ref());
    receipts.pop_front();
    Settled { outcome, unheard }
}
