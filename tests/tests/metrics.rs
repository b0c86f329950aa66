//! The counters as a host exports them with OpenTelemetry.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use opentelemetry::{KeyValue, metrics::MeterProvider};
use opentelemetry_sdk::metrics::{
    InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    data::{AggregatedMetrics, MetricData, Sum},
};
use std::collections::BTreeMap;
use tests::{Behaviour, Server, soon};
use websocket_connection::ConnectConfig;
use websocket_provider::{Endpoint, METRICS, MetricKind, Settings};

fn host(allow: &str) -> Endpoint {
    let mut settings = Settings::default();
    settings.set("allow", allow).unwrap();
    Endpoint::new(settings).unwrap()
}

/// The attributes and value of each point of a sum.
fn points<T: Copy + ToString>(sum: &Sum<T>) -> Vec<(BTreeMap<String, String>, String)> {
    let attributes = |attribute: &KeyValue| (attribute.key.to_string(), attribute.value.to_string());
    sum.data_points().map(|point| (point.attributes().map(attributes).collect(), point.value().to_string())).collect()
}

#[tokio::test]
async fn every_counter_is_exported_with_the_attributes_of_its_host() {
    let (busy, denied) = (host("localhost"), host("example.com"));
    let server = Server::start(Behaviour::Echo).await;
    let config = || ConnectConfig::new(&server.url);
    let connection = soon(busy.connect(config())).await.unwrap();
    soon(connection.send("hello")).await.unwrap();
    while soon(connection.receive()).await.unwrap().is_none() {}
    soon(denied.connect(config())).await.err().unwrap();

    let exporter = InMemoryMetricExporter::default();
    let provider = SdkMeterProvider::builder().with_reader(PeriodicReader::builder(exporter.clone()).build()).build();
    let meter = provider.meter("test");
    for (workload, endpoint) in [("busy", &busy), ("denied", &denied)] {
        endpoint.metrics().export(&meter, &[KeyValue::new("workload", workload)]);
    }
    provider.force_flush().unwrap();

    let exported = exporter.get_finished_metrics().unwrap();
    let exported: Vec<_> = exported[0].scope_metrics().flat_map(|scope| scope.metrics()).collect();
    assert_eq!(exported.len(), METRICS.len());
    let mut values = BTreeMap::new();
    for metric in METRICS {
        let found = exported.iter().find(|found| found.name() == metric.name).unwrap();
        assert_eq!((found.unit(), found.description()), (metric.unit, metric.description));
        let (points, rises) = match found.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => (points(sum), sum.is_monotonic()),
            AggregatedMetrics::I64(MetricData::Sum(sum)) => (points(sum), sum.is_monotonic()),
            other => panic!("{other:?}"),
        };
        assert_eq!(rises, metric.kind == MetricKind::Counter, "{}", metric.name);
        values.extend(points.into_iter().map(|(attributes, value)| ((metric.name, attributes), value)));
    }
    let mut declared = BTreeMap::new();
    for (workload, endpoint) in [("busy", &busy), ("denied", &denied)] {
        for sample in endpoint.metrics().snapshot() {
            let own = sample.metric.attribute.zip(sample.attribute_value);
            let attributes = [("workload", workload)].into_iter().chain(own);
            let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            declared.insert((sample.metric.name, attributes), sample.value.to_string());
        }
    }
    assert_eq!(values, declared);
    let value = |name, attributes: &[(&str, &str)]| {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        values[&(name, attributes)].as_str()
    };
    assert_eq!(value("websocket.connections.active", &[("workload", "busy")]), "1");
    assert_eq!(value("websocket.io", &[("workload", "busy"), ("network.io.direction", "receive")]), "5");
    assert_eq!(value("websocket.connections.failed", &[("workload", "denied"), ("error.type", "denied")]), "1");
    assert_eq!(value("websocket.connections.failed", &[("workload", "busy"), ("error.type", "denied")]), "0");
}
