//! Metrics: cheap handles that count, and the text that Prometheus scrapes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Upper bounds of a duration histogram's buckets, in seconds.
const DURATION_BUCKETS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

/// Names and values of labels. Constants by type: a label with an id in it would grow without end.
pub type Labels<'l> = &'l [(&'static str, &'static str)];

/// The metrics of one platform. Cheap to clone; all clones are the same metrics.
///
/// Asking twice for the same name and labels gives the same metric.
///
/// # Panics
/// [`Metrics::counter`], [`Metrics::gauge`] and [`Metrics::histogram`] panic on an invalid name, and on a name that is in use for
/// another kind or other label names. Both are mistakes in constants, found by the first start.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Inner>);

#[derive(Default)]
struct Inner {
    registry: Registry,
    families: Mutex<HashMap<&'static str, Family>>,
}

#[derive(Clone)]
enum Family {
    Counter(IntCounterVec),
    Gauge(IntGaugeVec),
    Histogram(HistogramVec),
}

/// A number that only grows.
#[derive(Clone)]
pub struct Counter(IntCounter);

/// A number that goes up and down.
#[derive(Clone)]
pub struct Gauge(IntGauge);

/// How long something takes, in buckets from 100 µs to 10 s.
#[derive(Clone)]
pub struct Histogram(prometheus::Histogram);

impl Metrics {
    /// No metrics yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counter `name`, which by custom ends in `_total`.
    pub fn counter(&self, name: &'static str, help: &str, labels: Labels<'_>) -> Counter {
        let family = self.family(name, || {
            IntCounterVec::new(Opts::new(name, help), &names(labels)).map(Family::Counter)
        });
        let Family::Counter(family) = family else {
            panic!("metric {name} is no counter")
        };
        Counter(
            family
                .get_metric_with_label_values(&values(labels))
                .unwrap_or_else(|error| refuse(name, &error)),
        )
    }

    /// The gauge `name`.
    pub fn gauge(&self, name: &'static str, help: &str, labels: Labels<'_>) -> Gauge {
        let family = self.family(name, || {
            IntGaugeVec::new(Opts::new(name, help), &names(labels)).map(Family::Gauge)
        });
        let Family::Gauge(family) = family else {
            panic!("metric {name} is no gauge")
        };
        Gauge(
            family
                .get_metric_with_label_values(&values(labels))
                .unwrap_or_else(|error| refuse(name, &error)),
        )
    }

    /// The histogram of durations `name`, which by custom ends in `_seconds`.
    pub fn histogram(&self, name: &'static str, help: &str, labels: Labels<'_>) -> Histogram {
        let family = self.family(name, || {
            let options = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
            HistogramVec::new(options, &names(labels)).map(Family::Histogram)
        });
        let Family::Histogram(family) = family else {
            panic!("metric {name} is no histogram")
        };
        Histogram(
            family
                .get_metric_with_label_values(&values(labels))
                .unwrap_or_else(|error| refuse(name, &error)),
        )
    }

    /// All metrics in Prometheus' text format 0.0.4, for `/metrics`.
    pub fn render(&self) -> String {
        prometheus::TextEncoder::new()
            .encode_to_string(&self.0.registry.gather())
            .expect("metrics that were registered have valid names")
    }

    fn family(&self, name: &'static str, make: impl FnOnce() -> prometheus::Result<Family>) -> Family {
        let mut families = self.0.families.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(family) = families.get(name) {
            return family.clone();
        }
        let family = make().unwrap_or_else(|error| refuse(name, &error));
        let collector: Box<dyn Collector> = match family.clone() {
            Family::Counter(family) => Box::new(family),
            Family::Gauge(family) => Box::new(family),
            Family::Histogram(family) => Box::new(family),
        };
        if let Err(error) = self.0.registry.register(collector) {
            refuse(name, &error)
        }
        families.insert(name, family.clone());
        family
    }
}

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.0.inc();
    }

    /// Counts `amount`.
    pub fn add(&self, amount: u64) {
        self.0.inc_by(amount);
    }

    /// The number so far.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

impl Gauge {
    /// Sets the number.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Adds `amount`, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.add(amount);
    }

    /// The number now.
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

impl Histogram {
    /// Counts one that took `duration`.
    pub fn observe(&self, duration: Duration) {
        self.0.observe(duration.as_secs_f64());
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}

fn names(labels: Labels<'_>) -> Vec<&'static str> {
    labels.iter().map(|(name, _)| *name).collect()
}

fn values(labels: Labels<'_>) -> Vec<&'static str> {
    labels.iter().map(|(_, value)| *value).collect()
}

fn refuse(name: &str, error: &prometheus::Error) -> ! {
    panic!("metric {name} cannot be made: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const APPENDS: &str = "trunkline_log_appends_total";

    #[test]
    fn the_same_name_and_labels_are_the_same_metric() {
        let metrics = Metrics::new();
        metrics.counter(APPENDS, "Appends", &[("tier", "synced")]).increment();
        let counter = metrics.counter(APPENDS, "Appends", &[("tier", "synced")]);
        counter.add(2);
        metrics.counter(APPENDS, "Appends", &[("tier", "written")]).increment();
        assert_eq!(counter.value(), 3);
        let text = metrics.render();
        assert!(
            text.contains("trunkline_log_appends_total{tier=\"synced\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("trunkline_log_appends_total{tier=\"written\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn two_platforms_in_one_process_do_not_share_metrics() {
        let (here, there) = (Metrics::new(), Metrics::new());
        here.gauge("trunkline_sessions", "Sessions", &[]).add(1);
        assert_eq!(there.gauge("trunkline_sessions", "Sessions", &[]).value(), 0);
    }

    #[test]
    fn a_duration_falls_into_the_bucket_above_it() {
        let metrics = Metrics::new();
        let histogram = metrics.histogram("trunkline_append_seconds", "Appends", &[]);
        histogram.observe(Duration::from_millis(3));
        assert_eq!(histogram.count(), 1);
        let text = metrics.render();
        assert!(
            text.contains("trunkline_append_seconds_bucket{le=\"0.0025\"} 0\n"),
            "{text}"
        );
        assert!(
            text.contains("trunkline_append_seconds_bucket{le=\"0.005\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    #[should_panic(expected = "is no gauge")]
    fn a_name_is_of_one_kind() {
        let metrics = Metrics::new();
        metrics.counter(APPENDS, "Appends", &[]);
        metrics.gauge(APPENDS, "Appends", &[]);
    }
}
