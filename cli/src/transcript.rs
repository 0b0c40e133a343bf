//! What the demo prints: its steps as they are done, what it read, and the same as commands for a shell.

use std::io::{self, Write};

use trunkline_core::Timestamp;

use crate::api::Record;

/// Columns of the name of a step.
const STEP_COLUMNS: usize = 18;
const GREEN_TICK: &str = "\x1b[32m✓\x1b[0m";
const RED_CROSS: &str = "\x1b[31m✗\x1b[0m";

/// The transcript, on its way to `out`.
pub(crate) struct Transcript<'a> {
    out: &'a mut (dyn Write + Send),
    tick: &'static str,
    cross: &'static str,
}

/// What the commands by hand name.
pub(crate) struct ByHand<'a> {
    pub(crate) url: &'a str,
    /// Where messages are taken over HTTP.
    pub(crate) messages: &'a str,
    /// Host and port of the MQTT listener.
    pub(crate) mqtt: (&'a str, &'a str),
    pub(crate) topic: &'a str,
    pub(crate) domain_id: &'a str,
    pub(crate) channel_id: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) content_type: &'a str,
    pub(crate) payload: &'a str,
}

impl<'a> Transcript<'a> {
    /// A transcript for `out`, in colour or not.
    pub(crate) fn new(out: &'a mut (dyn Write + Send), is_coloured: bool) -> Self {
        let (tick, cross) = if is_coloured {
            (GREEN_TICK, RED_CROSS)
        } else {
            ("✓", "✗")
        };
        Self { out, tick, cross }
    }

    pub(crate) fn title(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{text}\n")
    }

    /// One step that is done, told at once.
    pub(crate) fn done(&mut self, step: &str, what: &str) -> io::Result<()> {
        writeln!(self.out, "  {} {step:STEP_COLUMNS$}{what}", self.tick)?;
        self.out.flush()
    }

    /// The step that failed, and why.
    pub(crate) fn failed(&mut self, step: &str, why: &str) -> io::Result<()> {
        writeln!(self.out, "  {} {step:STEP_COLUMNS$}{why}", self.cross)?;
        self.out.flush()
    }

    /// One step that was not taken, and why.
    pub(crate) fn left_out(&mut self, step: &str, why: &str) -> io::Result<()> {
        writeln!(self.out, "  - {step:STEP_COLUMNS$}{why}")
    }

    /// A further line about the step before.
    pub(crate) fn more(&mut self, what: &str) -> io::Result<()> {
        writeln!(self.out, "    {:STEP_COLUMNS$}{what}", "")
    }

    /// The records as a table.
    pub(crate) fn records(&mut self, records: &[Record]) -> io::Result<()> {
        let name = |record: &Record| record.name.clone().unwrap_or_default();
        let value = |record: &Record| {
            let value = record.value.map(|value| value.to_string()).unwrap_or_default();
            format!("{value} {}", record.unit.as_deref().unwrap_or_default())
        };
        let columns =
            |cell: &dyn Fn(&Record) -> String| records.iter().map(|record| cell(record).chars().count()).max();
        let name_columns = columns(&name).unwrap_or(0);
        let value_columns = columns(&value).unwrap_or(0);
        writeln!(self.out)?;
        for record in records {
            let (name, value) = (name(record), value(record));
            let time = Timestamp::from_micros(record.time / 1_000);
            writeln!(self.out, "      {name:name_columns$}   {value:value_columns$}   {time}")?;
        }
        Ok(())
    }

    /// The same by hand.
    pub(crate) fn by_hand(&mut self, names: &ByHand<'_>) -> io::Result<()> {
        let ByHand {
            url,
            messages,
            mqtt: (host, port),
            topic,
            domain_id,
            channel_id,
            client_id,
            secret,
            content_type,
            payload,
        } = names;
        writeln!(
            self.out,
            r#"
The same by hand

  # publish over MQTT
  mosquitto_pub -h {host} -p {port} -q 1 \
    -u {client_id} \
    -P {secret} \
    -t {topic} \
    -m '{payload}'

  # publish over HTTP
  curl {messages}/{topic} \
    -H 'Authorization: Client {secret}' \
    -H 'Content-Type: {content_type}' \
    -d '{payload}'

  # read what is stored, latest first
  curl {url}/{domain_id}/channels/{channel_id}/messages \
    -H 'Authorization: Client {secret}'

The client reads by its connection to the channel. To read as yourself, send
'Authorization: Bearer <token>' with a token from POST {url}/users/tokens/issue."#
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn printed(print: impl FnOnce(&mut Transcript<'_>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        print(&mut Transcript::new(&mut out, false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn record(name: &str, unit: &str, value: f64) -> Record {
        Record {
            name: Some(name.to_owned()),
            unit: Some(unit.to_owned()),
            value: Some(value),
            time: 1_276_020_076_001_000_000,
        }
    }

    #[test]
    fn steps_and_records_stand_in_columns() {
        let text = printed(|transcript| {
            transcript.done("logged in", "ada@example.org")?;
            transcript.done("made a channel", "climate")?;
            transcript.records(&[
                record("kitchen:temperature", "Cel", 21.5),
                record("kitchen:humidity", "%RH", 48.0),
            ])
        });
        let expected = "  ✓ logged in         ada@example.org
  ✓ made a channel    climate

      kitchen:temperature   21.5 Cel   2010-06-08T18:01:16.001000Z
      kitchen:humidity      48 %RH     2010-06-08T18:01:16.001000Z
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_commands_can_be_pasted_into_a_shell() {
        let names = ByHand {
            url: "http://127.0.0.1:8080",
            messages: "http://127.0.0.1:8008",
            mqtt: ("127.0.0.1", "1883"),
            topic: "m/demo-ab2c/c/climate/kitchen",
            domain_id: "d1",
            channel_id: "c1",
            client_id: "t1",
            secret: "-s_e-",
            content_type: "application/senml+json",
            payload: r#"[{"n":"a b","v":1}]"#,
        };
        let text = printed(|transcript| transcript.by_hand(&names));
        let commands: String = text.lines().filter(|line| line.starts_with("  ")).fold(
            String::from("curl() { printf '%s|' \"$@\"; }\nmosquitto_pub() { printf '%s|' \"$@\"; }\n"),
            |script, line| script + line + "\n",
        );
        let shell = std::process::Command::new("sh")
            .arg("-c")
            .arg(commands)
            .output()
            .unwrap();
        let expected = [
            "-h|127.0.0.1|-p|1883|-q|1|-u|t1|-P|-s_e-|-t|m/demo-ab2c/c/climate/kitchen|-m|[{\"n\":\"a b\",\"v\":1}]|",
            "http://127.0.0.1:8008/m/demo-ab2c/c/climate/kitchen|-H|Authorization: Client -s_e-|",
            "-H|Content-Type: application/senml+json|-d|[{\"n\":\"a b\",\"v\":1}]|",
            "http://127.0.0.1:8080/d1/channels/c1/messages|-H|Authorization: Client -s_e-|",
        ];
        assert_eq!(String::from_utf8(shell.stdout).unwrap(), expected.concat());
        assert_eq!(String::from_utf8(shell.stderr).unwrap(), "");
    }
}
