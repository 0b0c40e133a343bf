//! Every limit of the adapter, by name.

use std::time::Duration;

use trunkline_bus::envelope::ENVELOPE_OVERHEAD_BYTES_MAX;
use trunkline_bus::state::VALUE_BYTES_MAX;

/// Bytes of a packet beyond its payload: header, topic and properties.
pub const PACKET_OVERHEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a CONNECT: with [`READ_BYTES`] all that a stranger can make the platform hold.
pub const CONNECT_BYTES_MAX: u32 = 16 * 1024;
/// Bytes of a topic name or filter.
pub const TOPIC_BYTES_MAX: u16 = 1_024;
/// Subscriptions of one session.
pub const SUBSCRIPTIONS_MAX: usize = 100;
/// Messages at QoS 1 and 2 that a client may have sent without having their PUBACK or PUBCOMP: the Receive Maximum that is announced
/// at most.
pub const RECEIVE_MAX: u16 = 256;
/// Times that a connection may repeat a message at QoS 2 that it has not released.
pub const REPEATS_MAX: u8 = 1;
/// Messages at QoS 1 and 2 sent to a client that it has not acknowledged to the end; its own Receive Maximum may be lower.
pub const WINDOW_MAX: u16 = 256;
/// Topic aliases of a connection, in each direction.
pub const TOPIC_ALIASES_MAX: u16 = 32;
/// Longest keep alive that MQTT 5 clients are granted, in seconds. 3.1.1 has no way to be told.
pub const KEEP_ALIVE_S_MAX: u16 = 7_200;

/// Payload and correlation data up to this are copied out of the buffer that they came in, so that they do not keep it alive.
pub const COPIED_BYTES_MAX: usize = 64 * 1024;
/// Bytes taken from a socket at a time.
pub const READ_BYTES: usize = 8 * 1024;
/// Times that a connection whose session was taken over still reads what has arrived.
pub const LAST_READS_MAX: usize = 16;
/// Bytes that a system takes for a peer beyond its send buffer: what it begins to take, it takes up to one segment.
pub const SEGMENT_BYTES_MAX: usize = 64 * 1024;
/// Bytes waiting for a socket above which no further message is written.
pub const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// Bytes waiting for a socket above which nothing more is read from it: answers have this room above messages.
pub const OUTPUT_BYTES_STOP: usize = OUTPUT_BYTES_MAX + 16 * 1024;

/// Subscriptions, with those that have ended, by which messages are written that the client may not have taken.
pub const UNTAKEN_SUBSCRIPTIONS_MAX: usize = 2 * SUBSCRIPTIONS_MAX;

/// Messages waiting for one session; those that the log keeps are read from there later.
pub const QUEUE_ENTRIES_MAX: usize = 2_048;
/// Room for messages that an empty queue keeps.
pub const QUEUE_ENTRIES_KEPT: usize = 16;
/// Bytes of messages waiting for one session, each counted with [`MESSAGE_OVERHEAD_BYTES`].
pub const QUEUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes that a message takes in memory beyond its payload, about.
pub const MESSAGE_OVERHEAD_BYTES: usize = 1_024;
/// Bytes that a user property takes in memory beyond its text, about.
pub const USER_PROPERTY_OVERHEAD_BYTES: usize = 64;
/// Entries that a session reads at a time while it catches up with the log.
pub const CATCH_UP_ENTRIES_MAX: usize = 256;
/// Bytes that a session reads at a time while it catches up with the log.
pub const CATCH_UP_BYTES_MAX: usize = 512 * 1024;
/// QoS 0 messages that were delivered before they were durable and are still to be seen in the log.
pub const TAPPED_MAX: usize = 16_384;
/// Pages that the reader of a shard is ahead of the router.
pub const PAGES_AHEAD_MAX: usize = 1;

/// Shared groups of one domain.
pub const SHARED_GROUPS_MAX: usize = 1_000;
/// Members of a group that it waits for while they are away.
pub const SHARED_KEPT_MAX: usize = 1_000;
/// Nodes on which a group has members.
pub const SHARED_NODES_MAX: usize = 16;
/// Messages that one node deals before it is the turn of another that has room.
pub const SHARED_TURN_MAX: usize = 32;
/// Pause between two looks for groups whose members and nodes are gone.
pub const SHARED_SWEEP_PAUSE: Duration = Duration::from_secs(60);
/// Pause between two looks at a group: for the next turn, for nodes that are gone, and for what is to be saved.
pub const SHARED_PAUSE: Duration = Duration::from_secs(1);
/// Connections on a node that are members of one group.
pub const SHARED_MEMBERS_MAX: usize = 1_000;
/// Messages of a group that members on a node have and are not done with; while there are more, the others wait in the log.
pub const SHARED_HELD_MAX: usize = 8_192;
/// Messages that a member is dealt ahead of what its socket takes.
pub const SHARED_DEALT_MAX: usize = 16;

/// Messages that one domain may retain.
pub const RETAINED_DOMAIN_ENTRIES_MAX: usize = 10_000;
/// Bytes that the retained messages of one domain may have.
pub const RETAINED_DOMAIN_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of a retained message with all that was said of it: what a value of shared state may have.
pub const RETAINED_BYTES_MAX: usize = VALUE_BYTES_MAX - 64;
/// Retained messages that are on their way to shared state; while there are more, the router waits.
pub const RETAINED_QUEUE_MAX: usize = 64;
/// Retained messages that are read for a subscription at a time.
pub const RETAINED_PAGE_ENTRIES_MAX: usize = 64;
/// Bytes of retained messages that are read for a subscription at a time.
pub const RETAINED_PAGE_BYTES_MAX: usize = 512 * 1024;
/// Pause between two looks for retained messages that lapsed.
pub const RETAINED_SWEEP_PAUSE: Duration = Duration::from_secs(10);
/// Time after which a message that was admitted and did not come by in the log has room in its domain no more.
pub const RETAINED_LATE_MAX: Duration = Duration::from_secs(60);
/// Retained messages that one such look removes.
pub const RETAINED_SWEEP_MAX: usize = 1_000;
/// Time for which it is remembered that a message was removed: a node that is further behind would bring it back.
pub const RETAINED_GONE_AGE_MAX: Duration = Duration::from_secs(3_600);

/// Seconds of expiry that stand for a session that never ends [MQTT-3.1.2-11].
pub const EXPIRY_NEVER_S: u32 = u32::MAX;
/// Sessions of one client that outlive their connections.
pub const SESSIONS_PER_CLIENT_MAX: usize = 100;
/// Bytes of the filters of a session that outlives its connection.
pub const SESSION_FILTER_BYTES_MAX: usize = 32 * 1024;
/// Bytes of the record of a session. What it holds has limits of its own that keep it below this.
pub const SESSION_BYTES_MAX: usize = 448 * 1024;
/// Bytes of a topic in the record of a session: the standard's limit, since what a node takes is for its settings to say.
pub const SESSION_TOPIC_BYTES_MAX: usize = u16::MAX as usize;
/// Runs of equal generations among the packet ids of a session.
pub const GENERATION_RUNS_MAX: usize = 4_096;
/// Messages at QoS 2 of a 3.1.1 client that were not released, in a session that outlives its connection.
pub const RECEIVED_KEPT_MAX: usize = 1_024;
/// Time after which a session that changed is saved, where no packet waits for that.
pub const SAVE_PAUSE: Duration = Duration::from_secs(1);
/// Changes after which a session is saved before that; a delivery at QoS 1 and its PUBACK are two.
pub const SAVE_CHANGES_MAX: u64 = 512;
/// Time that a session may take to be saved when its connection ends.
pub const LEAVE_TIME_MAX: Duration = Duration::from_secs(1);
/// Time for which a connection whose session was taken over still waits for what its client's last packets need.
pub const HAND_OVER_TIME_MAX: Duration = Duration::from_millis(500);
/// Time that a connection waits for the one before it to leave the session.
pub const TAKEOVER_TIME_MAX: Duration = Duration::from_secs(1);
/// How long a node that does not say so any more is taken for running.
pub const NODE_LEASE: Duration = Duration::from_secs(3);
/// Pause between two times that a node says so.
pub const NODE_RENEWAL_PAUSE: Duration = Duration::from_secs(1);
/// Time between two renewals above which a node may have lost its lease, or others theirs.
pub const NODE_GAP_MAX: Duration = Duration::from_secs(2);
/// How long a node must have shown without a gap that it runs before it says of others that they do not.
pub const NODE_STEADY_TIME: Duration = Duration::from_secs(5);
/// Times that a session is asked for while others write it.
pub const CLAIM_ATTEMPTS_MAX: usize = 8;
/// Sessions that could not be left in order whose records a node looks at at once.
pub const LOOKS_MAX: usize = 64;
/// Sessions of a node that read what they missed at once.
pub const REPLAYS_MAX: usize = 64;
/// Entries that a session which gets nothing may be behind the log in its record.
pub const SAVE_LAG_MAX: u64 = 16_384;
/// Time after which such a session is saved.
pub const SAVE_LAG_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of a will in the record of its session, with all that is said of it: the largest payload of the standard in the largest envelope.
pub const WILL_BYTES_MAX: usize = u16::MAX as usize + ENVELOPE_OVERHEAD_BYTES_MAX;
/// Time in which a will is published before it is left for later, without its connection.
pub const WILL_TIME_MAX: Duration = Duration::from_secs(1);
/// Pause before a session without a connection is looked at again when what is due could not be done.
pub const AGENDA_RETRY_PAUSE: Duration = Duration::from_secs(2);
/// Sessions without a connection that a node remembers to look at; those beyond are found when all are read again.
pub const AGENDA_ENTRIES_MAX: usize = 65_536;
/// Sessions without a connection that a node looks at at once.
pub const AGENDA_AT_ONCE: usize = 64;
/// Slices of all sessions, a 256th each, that are read at once.
pub const SWEEP_AT_ONCE: usize = 8;
/// Pause between two readings of all sessions, a slice at a time. What the agenda has no room for may wait for the next.
pub const SWEEP_PAUSE: Duration = Duration::from_secs(3_600);
/// The same while the agenda has no room for what is due, and after a node has gone.
pub const SWEEP_PAUSE_MIN: Duration = Duration::from_secs(2);
/// Time beyond a sweep's pause for which it remembers what is due.
pub const AGENDA_AHEAD: Duration = Duration::from_secs(2 * 3_600);

/// Connections of a node, on all of its listeners.
pub const CONNECTIONS_MAX: usize = 65_536;
/// Connections of a node, on all of its listeners, whose CONNECT is not yet answered; further ones wait in the system's queue. A request to
/// another listener that would become a WebSocket is told 503.
pub const HANDSHAKES_MAX: usize = 4_096;
/// Time for which a connection that says nothing keeps its place among these when there are no more: then others have it.
pub const SILENCE_TIME_MAX: Duration = Duration::from_secs(1);
/// Time from the first byte possible, of TLS where that is spoken, to the answer to CONNECT.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes that a header of the PROXY protocol may say to have, beyond its first 16; most of them are read and thrown away.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the request that becomes a WebSocket.
pub const WEBSOCKET_REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Bytes that a frame of a WebSocket may say to have. None of them is held; the largest packets are well below it.
pub const WEBSOCKET_FRAME_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Bytes of a message that is sent in a WebSocket. A packet may be in several, and several packets in one.
pub const WEBSOCKET_MESSAGE_BYTES: usize = 16 * 1024;
/// Bytes of answers to pings that wait for a WebSocket; while there are more, further pings have none.
pub const WEBSOCKET_REPLIES_BYTES_MAX: usize = 1_024;
/// Time without any byte taken by a peer for which bytes are waiting.
pub const STALL_TIME_MAX: Duration = Duration::from_secs(300);
/// Time that closing may take to hand over what was written.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(1);
/// Time that a connection has to send its outstanding acknowledgements when the node drains.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// Pause after a failed accept, such as when no descriptor is left.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause before a permission is asked for again while that cannot be answered.
pub const RECHECK_PAUSE: Duration = Duration::from_millis(100);
/// First pause before the log is asked again that could not answer; each further one is twice as long.
pub const RETRY_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause before the log is asked again.
pub const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Times that the log is asked for what a session is behind before its connection is given up: about three seconds.
pub const READ_ATTEMPTS_MAX: u32 = 7;
/// Time in which every publish is answered; a connection that waited longer is closed.
pub const ACK_TIME_MAX: Duration = Duration::from_secs(30);
/// Time that a client waits, with nothing further read from it, for a permission that cannot be had or a log that takes nothing; then
/// it is disconnected as by a busy server.
pub const BUSY_TIME_MAX: Duration = Duration::from_secs(10);
/// Clients whose use of a feature that is not offered was logged already.
pub const NOTED_MAX: usize = 16_384;
