//! The plugin: what wasmCloud's host calls when workloads come and go.

use crate::{config, functions, versions::VERSIONS};
use anyhow::{Context, Result};
use parking_lot::Mutex;
use std::{
    collections::HashSet,
    sync::{Arc, Weak},
};
use wash_runtime::{
    engine::workload::{ResolvedWorkload, WorkloadComponent},
    plugin::HostPlugin,
    wit::{WitInterface, WitWorld},
};
use wasmcloud_websocket_guest::Guest;
use websocket_connection::{Metrics, SettingError, Settings};

/// The plugin's id, which no other plugin of a host may have.
pub const PLUGIN_ID: &str = "wasmcloud-websocket";

/// Gives the components of workloads WebSockets, each under settings and with limits of its own.
#[derive(Debug)]
pub struct WebsocketPlugin {
    settings: Settings,
    /// The components, by their workload's id. Their linkers own them: a workload that never came to run is
    /// not unbound by every host.
    guests: Mutex<Vec<(String, Weak<Guest>)>>,
}

impl WebsocketPlugin {
    /// A plugin under whose settings every workload starts; a workload's configuration changes them for
    /// itself, and adds to what may be repeated, as `allow`.
    ///
    /// # Errors
    /// [`SettingError`] for settings that contradict each other.
    pub fn new(settings: Settings) -> Result<Self, SettingError> {
        settings.validate()?;
        Ok(WebsocketPlugin { settings, guests: Mutex::default() })
    }

    /// The id and the metrics of every workload that is bound now: one item for each of its components that
    /// uses WebSockets.
    pub fn metrics(&self) -> impl Iterator<Item = (String, Metrics)> + use<> {
        let guests = self.guests.lock();
        let metrics: Vec<_> = guests
            .iter()
            .filter_map(|(workload, guest)| Some((workload.clone(), guest.upgrade()?.metrics())))
            .collect();
        metrics.into_iter()
    }

    fn settings(&self, component: &WorkloadComponent, interfaces: &HashSet<WitInterface>) -> Result<Settings> {
        let mut settings = self.settings.clone();
        config::from_component(&mut settings, &component.local_resources().config)?;
        // In an order, so that of two entries with one key it is always the same one that counts.
        let mut interfaces: Vec<_> = interfaces.iter().collect();
        interfaces.sort_by_cached_key(|interface| interface.to_string());
        for interface in interfaces {
            config::from_interface(&mut settings, &interface.config)
                .with_context(|| format!("the configuration of {interface}"))?;
        }
        Ok(settings)
    }

    /// Takes the guests of a workload out of those that are bound.
    fn take(&self, workload: &str) -> Vec<Arc<Guest>> {
        let mut guests = self.guests.lock();
        let taken = guests.extract_if(.., |(id, _)| id == workload);
        taken.filter_map(|(_, guest)| guest.upgrade()).collect()
    }
}

#[async_trait::async_trait]
impl HostPlugin for WebsocketPlugin {
    fn id(&self) -> &'static str {
        PLUGIN_ID
    }

    fn world(&self) -> WitWorld {
        let imports = VERSIONS.map(|version| format!("wasmcloud:websocket/types,client@{version}").into());
        WitWorld { imports: HashSet::from(imports), ..WitWorld::default() }
    }

    async fn on_component_bind(
        &self,
        component: &mut WorkloadComponent,
        interfaces: HashSet<WitInterface>,
    ) -> Result<()> {
        let refused = || format!("workload {:?} cannot have WebSockets", component.workload_name());
        let settings = self.settings(component, &interfaces).with_context(refused)?;
        let guest = Arc::new(Guest::new(settings).with_context(refused)?);
        functions::link(component.linker(), &guest)?;
        let mut guests = self.guests.lock();
        guests.retain(|(_, guest)| guest.strong_count() > 0);
        guests.push((component.workload_id().to_owned(), Arc::downgrade(&guest)));
        Ok(())
    }

    async fn on_workload_unbind(&self, workload: &ResolvedWorkload, _: HashSet<WitInterface>) -> Result<()> {
        stop(self.take(workload.id())).await
    }

    async fn stop(&self) -> Result<()> {
        let guests = std::mem::take(&mut *self.guests.lock());
        stop(guests.iter().filter_map(|(_, guest)| guest.upgrade()).collect()).await
    }
}

/// Stops guests all at once, since each may take its close timeout.
async fn stop(guests: Vec<Arc<Guest>>) -> Result<()> {
    futures_util::future::try_join_all(guests.iter().map(|guest| guest.stop())).await?;
    Ok(())
}
