//! The proof that acknowledgements follow syncs, from a trace of the process's system calls.
//!
//! The lines of a trace are in the order of what they tell: a call that others overtook has one line for its begin and one for its end. A
//! message counts as synced when a sync of that one of the log's files succeeded to which it was written before that sync began; an
//! acknowledgement must begin after that.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::BytesMut;
use trunkline_mqtt_wire::{Decoder, Limits, Packet, Version};

/// What stands before a message's name, wherever its payload goes.
const BEFORE_NAME: &[u8] = br#"[{"n":""#;
/// How an accepted publish is answered over HTTP.
const ACCEPTED: &[u8] = b"HTTP/1.1 202";

/// What a trace proves.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    /// Acknowledgements over MQTT and HTTP.
    pub(crate) acknowledged: [u64; 2],
    /// Syncs of the log's files that succeeded.
    pub(crate) syncs: u64,
    /// Syncs of them that were made to fail.
    pub(crate) injected: u64,
    /// Acknowledgements that no sync covers, in words.
    pub(crate) uncovered: Vec<String>,
}

/// Whose trace it is.
pub(crate) struct Subject {
    /// Ends of the paths of the log's files: its journal, and what its database writes first.
    pub(crate) log_files: [&'static str; 2],
    pub(crate) mqtt_port: u16,
    pub(crate) http_port: u16,
}

impl Subject {
    pub(crate) fn prove(&self, trace: &str) -> Proof {
        let mut proving = Proving {
            subject: self,
            proof: Proof::default(),
            written: Vec::new(),
            seen: HashSet::new(),
            synced: HashSet::new(),
            sockets: HashMap::new(),
        };
        let calls = calls(trace);
        let ends = calls.iter().map(|call| (call.ended, false, call));
        let begins = calls.iter().map(|call| (call.began, true, call));
        let mut events: Vec<_> = ends.chain(begins).collect();
        // A call on one line ends where it begins; it has begun before.
        events.sort_by_key(|(line, is_begin, _)| (*line, !is_begin));
        for (line, is_begin, call) in events {
            proving.take(line, is_begin, call);
        }
        proving.proof
    }
}

struct Proving<'a> {
    subject: &'a Subject,
    proof: Proof,
    /// Messages that were written and not synced, with the file and the line where that ended.
    written: Vec<(String, usize, usize)>,
    seen: HashSet<String>,
    synced: HashSet<String>,
    sockets: HashMap<String, Socket>,
}

/// One connection, as the platform sees it.
enum Socket {
    Mqtt {
        from_client: (Decoder, BytesMut),
        to_client: Option<(Decoder, BytesMut)>,
        sent: HashMap<u16, String>,
    },
    Http {
        from_client: Vec<u8>,
        sent: VecDeque<String>,
    },
}

impl Proving<'_> {
    fn take(&mut self, line: usize, is_begin: bool, call: &Call) {
        let mut log_files = self.subject.log_files.iter();
        let log_file = log_files.position(|log_file| call.file.ends_with(log_file));
        match (call.name.as_str(), is_begin, log_file) {
            ("pwrite64" | "write", false, Some(file)) => {
                let new = names(&call.bytes).filter(|name| self.seen.insert(name.clone()));
                self.written.extend(new.map(|name| (name, file, line)));
            }
            ("fsync" | "fdatasync", false, Some(file)) => self.synced(call, file),
            ("recvfrom" | "read", false, _) if !call.is_peek => {
                if let Some(socket) = self.socket(&call.file) {
                    socket.received(&call.bytes);
                }
            }
            ("sendto" | "sendmsg" | "write" | "writev", true, _) => {
                let Some(socket) = self.socket(&call.file) else { return };
                let kind = usize::from(matches!(socket, Socket::Http { .. }));
                for name in socket.acknowledged(&call.bytes) {
                    self.proof.acknowledged[kind] += 1;
                    if !self.synced.contains(&name) {
                        self.proof
                            .uncovered
                            .push(format!("{name} was acknowledged at line {}", line + 1));
                    }
                }
            }
            _ => {}
        }
    }

    fn synced(&mut self, call: &Call, file: usize) {
        if call.result != 0 {
            self.proof.injected += u64::from(call.is_injected);
            return;
        }
        self.proof.syncs += 1;
        let is_covered = |written: &(String, usize, usize)| written.1 == file && written.2 < call.began;
        let (covered, rest): (Vec<_>, _) = self.written.drain(..).partition(is_covered);
        self.written = rest;
        self.synced.extend(covered.into_iter().map(|(name, ..)| name));
    }

    fn socket(&mut self, file: &str) -> Option<&mut Socket> {
        let (ours, _) = file.strip_prefix("TCP:[")?.split_once("->")?;
        let port: u16 = ours.rsplit_once(':')?.1.parse().ok()?;
        let decoder = || (Decoder::server(Limits::STANDARD), BytesMut::new());
        let made = if port == self.subject.mqtt_port {
            Socket::Mqtt {
                from_client: decoder(),
                to_client: None,
                sent: HashMap::new(),
            }
        } else if port == self.subject.http_port {
            Socket::Http {
                from_client: Vec::new(),
                sent: VecDeque::new(),
            }
        } else {
            return None;
        };
        Some(self.sockets.entry(file.to_owned()).or_insert(made))
    }
}

impl Socket {
    fn received(&mut self, bytes: &[u8]) {
        match self {
            Self::Mqtt {
                from_client: (decoder, buffer),
                sent,
                ..
            } => {
                buffer.extend_from_slice(bytes);
                while let Some(packet) = decoder.decode(buffer).unwrap() {
                    if let Packet::Publish(publish) = packet
                        && let Some(id) = publish.packet_id
                    {
                        let name = names(&publish.payload).next();
                        sent.insert(id.get(), name.unwrap_or_else(|| "a message without a name".to_owned()));
                    }
                }
            }
            Self::Http { from_client, sent } => {
                from_client.extend_from_slice(bytes);
                while let Some((name, end)) = name(from_client) {
                    sent.push_back(name);
                    from_client.drain(..end);
                }
            }
        }
    }

    /// The messages that these bytes acknowledge.
    fn acknowledged(&mut self, bytes: &[u8]) -> Vec<String> {
        match self {
            Self::Mqtt {
                from_client,
                to_client,
                sent,
            } => {
                let version = from_client.0.version().unwrap_or(Version::V5);
                let client = || (Decoder::client(version, Limits::STANDARD), BytesMut::new());
                let (decoder, buffer) = to_client.get_or_insert_with(client);
                buffer.extend_from_slice(bytes);
                let mut names = Vec::new();
                while let Some(packet) = decoder.decode(buffer).unwrap() {
                    if let Packet::PubAck(ack) = packet
                        && !ack.reason.is_error()
                    {
                        names.push(sent.remove(&ack.packet_id.get()).unwrap());
                    }
                }
                names
            }
            Self::Http { sent, .. } => {
                let count = bytes
                    .windows(ACCEPTED.len())
                    .filter(|window| *window == ACCEPTED)
                    .count();
                sent.drain(..count.min(sent.len())).collect()
            }
        }
    }
}

/// One system call.
#[derive(Debug, PartialEq)]
struct Call {
    name: String,
    /// What its descriptor stands for: a path, or a connection.
    file: String,
    /// What was read or written.
    bytes: Vec<u8>,
    result: i64,
    is_injected: bool,
    /// Whether it only looked at what the next one reads.
    is_peek: bool,
    /// The lines where it began and ended.
    began: usize,
    ended: usize,
}

fn calls(trace: &str) -> Vec<Call> {
    let (mut calls, mut unfinished) = (Vec::new(), HashMap::new());
    for (line, text) in trace.lines().enumerate() {
        let Some((process, rest)) = text.split_once(' ') else {
            continue;
        };
        let rest = rest.trim_start();
        if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
            unfinished.insert(process, (line, begin.trim_end().to_owned()));
        } else if let Some((_, end)) = rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            if let Some((began, begin)) = unfinished.remove(process) {
                calls.extend(call(&format!("{begin}{end}"), began, line));
            }
        } else {
            calls.extend(call(rest, line, line));
        }
    }
    calls
}

fn call(text: &str, began: usize, ended: usize) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let result_number: i64 = result.split_whitespace().next()?.parse().ok()?;
    let (_, file) = arguments.split_once('<')?;
    // The name of a connection has a `>` inside, so that only one with what follows a descriptor ends it.
    let end = [">,", ">)"].iter().filter_map(|end| file.find(end)).min()?;
    let mut bytes: Vec<u8> = arguments.split('"').skip(1).step_by(2).flat_map(unescaped).collect();
    bytes.truncate(usize::try_from(result_number).unwrap_or_default());
    Some(Call {
        name: name.to_owned(),
        file: String::from_utf8(unescaped(&file[..end])).ok()?,
        bytes,
        result: result_number,
        is_injected: result.contains("(INJECTED)"),
        is_peek: arguments.contains("MSG_PEEK"),
        began,
        ended,
    })
}

/// Text in which every byte may be given by `\x` and two digits.
fn unescaped(text: &str) -> Vec<u8> {
    let Some(digits) = text.strip_prefix("\\x") else {
        return text.as_bytes().to_vec();
    };
    digits
        .split("\\x")
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect()
}

/// The names of the messages in these bytes.
fn names(bytes: &[u8]) -> impl Iterator<Item = String> + '_ {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (name, end) = name(rest)?;
        rest = &rest[end..];
        Some(name)
    })
}

/// The first whole name in these bytes, and where it ends.
fn name(bytes: &[u8]) -> Option<(String, usize)> {
    let start = bytes
        .windows(BEFORE_NAME.len())
        .position(|window| window == BEFORE_NAME)?
        + BEFORE_NAME.len();
    let length = bytes[start..].iter().position(|byte| *byte == b'"')?;
    let name = String::from_utf8_lossy(&bytes[start..start + length]).into_owned();
    Some((name, start + length))
}

const SUBJECT: Subject = Subject {
    log_files: ["/log.journal", "/log.db-wal"],
    mqtt_port: 1883,
    http_port: 8080,
};

/// A trace of one message over HTTP; each line of `between` stands between its write and its answer.
fn trace_of_one(between: &[&str]) -> String {
    let (log, payload) = (hex("/data/log.journal"), r#"[{"n":"a","vs":""}]"#);
    let mut lines = vec![
        format!(
            r#"1 recvfrom(5<TCP:[127.0.0.1:8080->127.0.0.1:4]>, "{}", 99, 0, NULL, NULL) = 99"#,
            hex(&format!("POST / {payload}"))
        ),
        format!(r#"2 pwrite64(6<{log}>, "{}", 19, 0) = 19"#, hex(payload)),
    ];
    lines.extend(between.iter().map(|line| line.replace("LOG", &log)));
    lines.push(format!(
        r#"1 writev(5<TCP:[127.0.0.1:8080->127.0.0.1:4]>, [{{iov_base="{}", iov_len=15}}], 1) = 15"#,
        hex("HTTP/1.1 202 OK")
    ));
    lines.join("\n")
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("\\x{byte:02x}")).collect()
}

#[test]
fn a_sync_between_write_and_answer_covers_the_message() {
    for between in [
        &["2 fdatasync(6<LOG>) = 0"][..],
        &["2 fsync(6<LOG> <unfinished ...>", "2 <... fsync resumed>) = 0"],
    ] {
        let proof = SUBJECT.prove(&trace_of_one(between));
        assert_eq!(
            (proof.acknowledged, proof.syncs, proof.uncovered.len()),
            ([0, 1], 1, 0),
            "{proof:?}"
        );
    }
}

#[test]
fn a_look_at_what_is_read_next_receives_nothing() {
    let connect = hex("\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0\x30\x04\0\x01a\0");
    let trace = [
        (&connect[..4], "MSG_PEEK, NULL, NULL) = 1"),
        (&connect, "0, NULL, NULL) = 21"),
    ]
    .map(|(bytes, end)| format!(r#"1 recvfrom(5<TCP:[127.0.0.1:1883->127.0.0.1:4]>, "{bytes}", 99, {end}"#));
    assert_eq!(SUBJECT.prove(&trace.join("\n")).acknowledged, [0, 0]);
}

#[test]
fn an_answer_that_no_sync_covers_is_found() {
    let uncovering: [&[&str]; 5] = [
        &[],
        &["2 fdatasync(7</data/log.db-wal>) = 0"],
        &["2 fdatasync(6<LOG>) = -1 EIO (Input/output error) (INJECTED)"],
        &["2 fdatasync(7</data/messages.db-wal>) = 0"],
        &["2 fdatasync(6<LOG> <unfinished ...>"],
    ];
    for between in uncovering {
        let proof = SUBJECT.prove(&trace_of_one(between));
        assert_eq!(
            (proof.acknowledged, proof.uncovered.len()),
            ([0, 1], 1),
            "{between:?}: {proof:?}"
        );
    }
}

#[test]
fn a_sync_that_began_before_the_write_ended_covers_nothing() {
    let trace = trace_of_one(&["3 <... fdatasync resumed>) = 0"]);
    let begun = format!("3 fdatasync(6<{}> <unfinished ...>\n{trace}", hex("/data/log.journal"));
    assert_eq!(SUBJECT.prove(&begun).uncovered.len(), 1);
}
