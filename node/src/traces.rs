//! The traces of a process: under which name it records, and the export that ends when all else has.

use trunkline_core::NodeId;
use trunkline_telemetry::traces::{Export, Resource};
use trunkline_telemetry::{Metrics, Tracer};
use uuid::Uuid;

use crate::config::Config;
use crate::error::Error;
use crate::roles::{Role, Roles, Shape};

/// What is recorded here, and the way to the collector, where the configuration names one.
pub(crate) struct Traces {
    pub(crate) tracer: Tracer,
    export: Option<Export>,
}

impl Traces {
    /// Opens what `[telemetry]` says. Nothing connects to anything before there is something to tell.
    ///
    /// # Errors
    /// When the section is wrong.
    pub(crate) fn open(
        config: &Config,
        (shape, roles): (Shape, &Roles),
        (platform, node): (Uuid, NodeId),
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        let resource = Resource {
            service: service_name(shape, roles),
            version: env!("CARGO_PKG_VERSION"),
            instance: node.to_string(),
            platform: platform.to_string(),
        };
        let telemetry = &config.telemetry;
        let opened = Tracer::open(telemetry, &resource, metrics);
        let (tracer, export) = opened.map_err(|fault| Error::Configuration(format!("[telemetry]: {fault}")))?;
        if let Some(endpoint) = &telemetry.otlp_endpoint {
            let sampling_ratio = telemetry.sampling_ratio;
            tracing::info!(
                endpoint,
                sampling_ratio,
                service = resource.service,
                "traces go to a collector"
            );
        }
        Ok(Self { tracer, export })
    }

    /// Tells the collector what it was not told yet, in bounded time.
    pub(crate) async fn finish(self) {
        if let Some(export) = self.export {
            export.finish().await;
        }
    }
}

/// `trunkline` for a whole platform, `trunkline-mqtt-http` for a slice with these roles.
fn service_name(shape: Shape, roles: &Roles) -> String {
    let whole = "trunkline".to_owned();
    match shape {
        Shape::Whole | Shape::WholeOverSockets => whole,
        Shape::Split => roles
            .iter()
            .map(Role::as_str)
            .fold(whole, |name, role| name + "-" + role),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_records_under_the_names_of_its_roles() {
        assert_eq!(service_name(Shape::Whole, &Roles::all()), "trunkline");
        let adapters = Roles::new(&[Role::Http, Role::Mqtt]);
        assert_eq!(service_name(Shape::Split, &adapters), "trunkline-mqtt-http");
    }
}
