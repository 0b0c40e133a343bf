//! What a configuration is refused for: what is insecure, and what cannot work.

use std::net::{IpAddr, SocketAddr};

use tonic::transport::Uri;
use trunkline_mqtt::Transport;
use trunkline_mqtt::transport::websocket::Origins;

use super::Config;
use crate::error::Error;
use crate::roles::{Role, Roles, Shape};

impl Config {
    /// Refuses what is wrong whatever runs in the process.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.log.check().map_err(Error::Configuration)?;
        if let Some(nats) = &self.nats {
            nats.check()
                .map_err(|fault| Error::Configuration(format!("[nats]: {fault}")))?;
        }
        self.check_telemetry()?;
        let websocket = self.listen.ws.map(|address| ("ws", address));
        for (name, address) in self.listen.named().into_iter().chain(websocket) {
            if !is_loopback(address.ip()) && !self.allow_plaintext {
                return Err(Error::Configuration(format!(
                    "`{name}` listens on {address}, beyond this machine, without TLS; keep it on 127.0.0.1, or give --allow-plaintext where \
                     the network itself is protected"
                )));
            }
        }
        self.check_listeners()
    }

    /// What a listener needs is there, and nothing else: a section that nothing uses is taken for protection.
    fn check_listeners(&self) -> Result<(), Error> {
        let wrong = |fault: String| Err(Error::Configuration(fault));
        let over_tls = [("mqtts", self.listen.mqtts), ("wss", self.listen.wss)];
        let over_tls = over_tls
            .iter()
            .find_map(|(name, address)| address.is_some().then_some(name));
        match (self.listen.https, &self.http.tls) {
            (Some(_), None) => {
                let fault = "`https` under [listen] has no TLS to speak; add [http.tls] with `certificate` and `key`";
                return wrong(fault.to_owned());
            }
            (None, Some(_)) => {
                let fault =
                    "[http.tls] is there and nothing listens with it; add `https = \"ADDR:PORT\"` under [listen]";
                return wrong(fault.to_owned());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        match (over_tls, &self.mqtt.tls) {
            (Some(name), None) => {
                return wrong(format!(
                    "`{name}` under [listen] has no TLS to speak; add [mqtt.tls] with `certificate` and `key`"
                ));
            }
            (None, Some(_)) => {
                let fault =
                    "[mqtt.tls] is there and nothing listens with it; add `mqtts = \"ADDR:PORT\"` under [listen]";
                return wrong(fault.to_owned());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if let Some(proxies) = &self.mqtt.proxy_protocol {
            if proxies.listeners.is_empty() || proxies.trusted_peers.is_empty() {
                let fault = "[mqtt.proxy_protocol] needs `listeners` and `trusted_peers`, or nobody could connect";
                return wrong(fault.to_owned());
            }
            let closed = |transport: &&Transport| self.listen.mqtt(**transport).is_none();
            if let Some(transport) = proxies.listeners.iter().find(closed) {
                return wrong(format!(
                    "[mqtt.proxy_protocol] names the listener `{}`, which has no address under [listen]",
                    transport.name()
                ));
            }
        }
        match Origins::parse(&self.mqtt.websocket.origins) {
            Ok(_) => Ok(()),
            Err(fault) => wrong(format!("[mqtt.websocket]: {fault}")),
        }
    }

    fn check_telemetry(&self) -> Result<(), Error> {
        let checked = self.telemetry.check();
        checked.map_err(|fault| Error::Configuration(format!("[telemetry]: {fault}")))?;
        match self.telemetry.collector_host() {
            Some(host) if !is_near(&host) && !self.allow_plaintext => Err(Error::Configuration(format!(
                "[telemetry]: the collector at `{host}` is beyond this machine, and spans go there without TLS; run one on this machine, or \
                 give --allow-plaintext where the network itself is protected"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses what a process of `shape` cannot work with.
    ///
    /// # Errors
    /// One sentence that names the key that is missing or wrong.
    pub fn check_as(&self, shape: Shape) -> Result<(), Error> {
        if shape != Shape::Split {
            return self.check_whole();
        }
        let roles = self.roles_of(shape);
        if self.roles.is_empty() {
            let words = Role::ALL.map(Role::as_str).join(",");
            return Err(Error::Configuration(format!(
                "`trunkline serve` has no roles; give some of --roles {words}, or run everything with `trunkline up`"
            )));
        }
        self.check_places(&roles)?;
        self.check_internal(&roles)?;
        self.check_storage(&roles)
    }

    fn check_whole(&self) -> Result<(), Error> {
        if !self.roles.is_empty() {
            return Err(Error::Configuration(
                "`roles` is for `trunkline serve`, and `trunkline up` runs everything; take that line out".to_owned(),
            ));
        }
        if self.database_url(Role::Writer).is_some() != self.database_url(Role::Reader).is_some() {
            return Err(Error::Configuration(
                "one of [writer] and [reader] has a `database_url` and the other has none; they share the stored messages".to_owned(),
            ));
        }
        Ok(())
    }

    /// Every service that is called and does not run here has a place, which is safe to speak to.
    fn check_places(&self, roles: &Roles) -> Result<(), Error> {
        for (service, asking) in roles.elsewhere() {
            let Some(place) = self.services.place(service) else {
                return Err(Error::Configuration(format!(
                    "role `{asking}` calls `{service}`, which does not run here; add `{service}` to --roles, or say where it runs with \
                     `{service} = \"https://…\"` under [services]"
                )));
            };
            self.check_place(service, place)?;
        }
        Ok(())
    }

    fn check_internal(&self, roles: &Roles) -> Result<(), Error> {
        let address: SocketAddr = self.listen.internal;
        if roles.serves_others() && !is_loopback(address.ip()) && self.internal_tls.is_none() {
            return Err(Error::Configuration(format!(
                "`internal` listens on {address}, beyond this machine, without TLS; keep it on 127.0.0.1, or add [internal_tls]"
            )));
        }
        Ok(())
    }

    /// Refuses a place that is no address, or beyond this machine and not protected by TLS.
    fn check_place(&self, service: Role, place: &str) -> Result<(), Error> {
        let wrong = |why: &str| Error::Configuration(format!("`{service}` under [services] is `{place}`, {why}"));
        let uri: Uri = place.parse().map_err(|_| wrong("which is no URL"))?;
        let host = uri.host().ok_or_else(|| wrong("which names no host"))?;
        let host = host.trim_matches(['[', ']']);
        let is_near = is_near(host);
        match uri.scheme_str() {
            Some("https") if self.internal_tls.is_some() => Ok(()),
            Some("https") => Err(wrong("and [internal_tls] is missing, which says what to show there")),
            Some("http") if is_near => Ok(()),
            Some("http") => Err(wrong("beyond this machine without TLS; write https://")),
            _ => Err(wrong("which is neither https:// nor, on this machine, http://")),
        }
    }

    /// Processes share what they keep, so none of it may be embedded in one of them.
    fn check_storage(&self, roles: &Roles) -> Result<(), Error> {
        for role in roles.iter().filter(|role| role.keeps_rows()) {
            match self.database_url(role) {
                Some(url) if is_postgres(url) => {}
                Some(_) => {
                    return Err(Error::Configuration(format!(
                        "the database of role `{role}` is not on Postgres; processes share it, so give a `postgres://…` address"
                    )));
                }
                None => {
                    return Err(Error::Configuration(format!(
                        "role `{role}` has no database; say where it is with `database_url = \"postgres://…\"` under [{role}]"
                    )));
                }
            }
        }
        if self.keys.folder.is_none() {
            return Err(Error::Configuration(
                "`folder` under [keys] is missing; it holds the keys that the platform's processes share".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Whether an address of a database is on a Postgres server.
pub(crate) fn is_postgres(url: &str) -> bool {
    url.starts_with("postgres://") || url.starts_with("postgresql://")
}

/// Whether `host` is this machine.
fn is_near(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(is_loopback)
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
