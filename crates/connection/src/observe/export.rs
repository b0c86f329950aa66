//! The counters of a host as instruments of OpenTelemetry.

use crate::{METRICS, MetricKind, Metrics};
use opentelemetry::{KeyValue, metrics::Meter};

impl Metrics {
    /// Registers every metric of [`METRICS`] with a meter, which reads the counters whenever it collects.
    /// `attributes` go with every value, and tell hosts apart that share a meter. What is registered
    /// stays as long as the meter's provider, and goes on to report the counts of a host that is gone.
    pub fn export(&self, meter: &Meter, attributes: &[KeyValue]) {
        for metric in METRICS {
            let (metrics, attributes) = (self.clone(), attributes.to_vec());
            let each = move |observe: &dyn Fn(u64, &[KeyValue])| {
                for sample in metric.samples(&metrics) {
                    let label = metric.attribute.zip(sample.attribute_value);
                    let label = label.map(|(name, value)| KeyValue::new(name, value));
                    observe(sample.value, &attributes.iter().cloned().chain(label).collect::<Vec<_>>());
                }
            };
            let (name, unit, description) = (metric.name, metric.unit, metric.description);
            // The callback stays with the meter's provider; the instrument is only its handle.
            match metric.kind {
                MetricKind::Counter => drop(
                    meter
                        .u64_observable_counter(name)
                        .with_unit(unit)
                        .with_description(description)
                        .with_callback(move |observer| each(&|value, labels| observer.observe(value, labels)))
                        .build(),
                ),
                MetricKind::UpDownCounter => drop(
                    meter
                        .i64_observable_up_down_counter(name)
                        .with_unit(unit)
                        .with_description(description)
                        .with_callback(move |observer| {
                            each(&|value, labels| observer.observe(i64::try_from(value).unwrap_or(i64::MAX), labels));
                        })
                        .build(),
                ),
            }
        }
    }
}
