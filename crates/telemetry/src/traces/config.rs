//! What an operator may say about traces.

use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

/// The part that is recorded when the configuration names a collector and nothing else.
pub const SAMPLING_RATIO_DEFAULT: f64 = 0.01;

/// The section `[telemetry]`. Every value has a default; unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Collector that spans are sent to by OTLP over gRPC, such as `http://127.0.0.1:4317`. Default none: nothing is recorded or sent.
    pub otlp_endpoint: Option<String>,
    /// Part of the messages and calls from outside that is recorded, 0 to 1; default [`SAMPLING_RATIO_DEFAULT`].
    pub sampling_ratio: f64,
    /// Lets the flag of a `traceparent` from outside decide whether it is recorded, in place of the ratio. Default false: whoever may
    /// publish could have everything recorded.
    pub follow_outside: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            otlp_endpoint: None,
            sampling_ratio: SAMPLING_RATIO_DEFAULT,
            follow_outside: false,
        }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// One sentence that names the key and what would be right.
    pub fn check(&self) -> Result<(), String> {
        // So that what is not a number is out as well.
        if !(0.0..=1.0).contains(&self.sampling_ratio) {
            return Err(format!("`sampling_ratio` is {} and may be 0 to 1", self.sampling_ratio));
        }
        self.place().map(|_| ())
    }

    /// The collector's host; none when there is no collector or its address is wrong.
    pub fn collector_host(&self) -> Option<String> {
        let place = self.place().ok()??;
        Some(place.host()?.trim_matches(['[', ']']).to_owned())
    }

    /// Where the collector is.
    pub(crate) fn place(&self) -> Result<Option<Uri>, String> {
        let Some(endpoint) = &self.otlp_endpoint else {
            return Ok(None);
        };
        let wrong =
            |why: &str| format!("`otlp_endpoint` is `{endpoint}`, {why}; `http://127.0.0.1:4317` is an example of one");
        let place: Uri = endpoint.parse().map_err(|_| wrong("which is no URL"))?;
        match place.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(wrong(
                    "and TLS to a collector is not offered: run one beside the platform, and let that speak TLS",
                ));
            }
            _ => return Err(wrong("which is no http:// address")),
        }
        let authority = place.authority().map_or("", |authority| authority.as_str());
        if authority.contains('@') {
            // Not quoted: it may hold a password.
            return Err("`otlp_endpoint` has a user in it, and a collector takes none".to_owned());
        }
        if place.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong("which names no port; collectors take gRPC on 4317"));
        }
        if place.path() != "/" || place.query().is_some() {
            return Err(wrong(
                "and OTLP over gRPC has no path: that of a collector for HTTP is another port",
            ));
        }
        Ok(Some(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(endpoint: &str) -> Result<(), String> {
        let config = Config {
            otlp_endpoint: Some(endpoint.to_owned()),
            ..Config::default()
        };
        config.check()
    }

    #[test]
    fn a_collector_is_a_host_and_a_port() {
        for endpoint in [
            "http://127.0.0.1:4317",
            "http://collector.local:4317/",
            "http://[::1]:4317",
        ] {
            assert_eq!(checked(endpoint), Ok(()), "{endpoint}");
        }
        for (endpoint, why) in [
            ("127.0.0.1:4317", "no http:// address"),
            ("collector", "no http:// address"),
            ("", "no URL"),
            ("grpc://collector:4317", "no http:// address"),
            ("https://collector:4317", "TLS"),
            ("http://collector", "names no port"),
            ("http://collector:4318/v1/traces", "has no path"),
        ] {
            let refused = checked(endpoint).unwrap_err();
            assert!(refused.contains(why) && refused.contains("otlp_endpoint"), "{refused}");
        }
        let refused = checked("http://user:hunter2@collector:4317").unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
    }

    #[test]
    fn a_ratio_is_between_0_and_1() {
        for (ratio, is_right) in [(0.0, true), (1.0, true), (-0.1, false), (1.1, false), (f64::NAN, false)] {
            let config = Config {
                sampling_ratio: ratio,
                ..Config::default()
            };
            assert_eq!(config.check().is_ok(), is_right, "{ratio}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<Config>("otlp_endpiont = \"\"").is_err());
        assert_eq!(
            toml::from_str::<Config>("sampling_ratio = 1").unwrap().sampling_ratio,
            1.0
        );
    }
}
