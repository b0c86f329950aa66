//! What operators see, for tests to read: every event, with the connection's span that it is within, and counters.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{Mutex, Once},
    thread::{ThreadId, current},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};
use websocket_connection::{Endpoint, Sample};

/// Everything that was logged in this process, whatever test it belongs to.
pub(crate) static LOG: Mutex<Vec<Logged>> = Mutex::new(Vec::new());

#[derive(Debug, Clone, Default)]
pub(crate) struct Values(pub(crate) BTreeMap<&'static str, String>);

impl Visit for Values {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Logged {
    pub(crate) metadata: &'static Metadata<'static>,
    pub(crate) values: Values,
    /// The metadata and values of the innermost span.
    pub(crate) span: Option<(&'static Metadata<'static>, Values)>,
    /// The names of the spans around that one, the nearest first.
    pub(crate) parents: Vec<&'static str>,
    /// Which test's thread opened the span.
    opener: Option<ThreadId>,
}

impl Logged {
    pub(crate) fn message(&self) -> &str {
        &self.values.0["message"]
    }

    pub(crate) fn get(&self, field: &str) -> &str {
        self.values.0.get(field).map_or("", String::as_str)
    }
}

pub(crate) struct Collector;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Collector {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut values = Values::default();
        attributes.record(&mut values);
        let span = context.span(id).unwrap();
        span.extensions_mut().insert(values);
        span.extensions_mut().insert(current().id());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut values = Values::default();
        event.record(&mut values);
        let span = context.event_span(event);
        let parents = span.iter().flat_map(|span| span.scope().skip(1)).map(|parent| parent.name()).collect();
        let opener = span.as_ref().map(|span| *span.extensions().get::<ThreadId>().unwrap());
        let span = span.map(|span| (span.metadata(), span.extensions().get::<Values>().unwrap().clone()));
        LOG.lock().unwrap().push(Logged { metadata: event.metadata(), values, span, parents, opener });
    }
}

/// What was logged within the span of this test's connections to this URL. Other tests may have had its port.
pub(crate) fn logged(url: &str) -> Vec<Logged> {
    let destination = url.trim_end_matches('/');
    let log = LOG.lock().unwrap();
    let within = |logged: &&Logged| {
        let span = logged.span.as_ref().filter(|_| logged.opener == Some(current().id()));
        span.is_some_and(|(_, values)| values.0.get("destination").is_some_and(|own| own == destination))
    };
    log.iter().filter(within).cloned().collect()
}

pub(crate) fn messages(logged: &[Logged]) -> Vec<&str> {
    logged.iter().map(Logged::message).collect()
}

/// The one event of this name.
pub(crate) fn one<'a>(logged: &'a [Logged], message: &str) -> &'a Logged {
    let mut found = logged.iter().filter(|logged| logged.message() == message);
    let one = found.next().unwrap_or_else(|| panic!("{message} is not in {logged:#?}"));
    assert!(found.next().is_none(), "{message} is twice in {logged:#?}");
    one
}

/// An endpoint whose connections are logged.
pub(crate) fn observed(changes: &[(&str, &str)]) -> Endpoint {
    static LOGGING: Once = Once::new();
    LOGGING.call_once(|| tracing_subscriber::registry().with(Collector).init());
    super::endpoint(&[&[("keepalive-floor", "1ms")], changes].concat())
}

/// The counters that are not zero, by name and attribute.
pub(crate) fn counts(endpoint: &Endpoint) -> BTreeMap<String, u64> {
    let name = |sample: &Sample| format!("{} {}", sample.metric.name, sample.attribute_value.unwrap_or_default());
    let samples = endpoint.metrics().snapshot().filter(|sample| sample.value > 0);
    samples.map(|sample| (name(&sample).trim_end().to_owned(), sample.value)).collect()
}

/// Checks every counter; those that are not named are zero.
#[track_caller]
pub(crate) fn assert_counts(endpoint: &Endpoint, expected: &[(&str, u64)]) {
    let expected = expected.iter().map(|(name, value)| (format!("websocket.{name}"), *value)).collect();
    assert_eq!(counts(endpoint), expected);
}
