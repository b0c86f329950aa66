//! What a host keeps for each guest, and how this crate finds it.

use wasmtime::component::ResourceTable;
use websocket_connection::{Endpoint, SettingError, Settings};

/// What one guest may do with WebSockets; a store's data holds one.
#[derive(Debug, Clone)]
pub struct WebsocketCtx {
    endpoint: Endpoint,
}

impl WebsocketCtx {
    /// A builder with the default settings, under which nothing may be dialled.
    pub fn builder() -> WebsocketCtxBuilder {
        WebsocketCtxBuilder::default()
    }

    /// A context over an endpoint. A host with many guests makes one [`Endpoint`] and gives each guest
    /// [`Endpoint::for_guest`]: settings, certificates and the total of connections are shared then.
    pub fn new(endpoint: Endpoint) -> Self {
        WebsocketCtx { endpoint }
    }

    /// Where this guest's connections come from. [`Endpoint::closed`] of it waits for those that are
    /// closing in the background.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }
}

/// Makes a [`WebsocketCtx`] of settings.
#[derive(Debug, Clone, Default)]
pub struct WebsocketCtxBuilder {
    settings: Settings,
}

impl WebsocketCtxBuilder {
    /// Replaces all settings.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets one setting by its name, as flags and configuration files do; see [`crate::SETTINGS`].
    ///
    /// # Errors
    /// [`SettingError`] that names the setting, the value and what would be right.
    pub fn set(mut self, name: &str, value: &str) -> Result<Self, SettingError> {
        self.settings.set(name, value)?;
        Ok(self)
    }

    /// Builds the context. Reads the certificates that the settings name.
    ///
    /// # Errors
    /// [`SettingError`] for settings that contradict each other and for files that cannot be used.
    pub fn build(self) -> Result<WebsocketCtx, SettingError> {
        Endpoint::new(self.settings).map(WebsocketCtx::new)
    }
}

/// A view of the store's data: the context, and the table in which connections are kept.
#[derive(Debug)]
pub struct WebsocketCtxView<'a> {
    /// The guest's context.
    pub ctx: &'a mut WebsocketCtx,
    /// The table of the store's resources.
    pub table: &'a mut ResourceTable,
}

/// Implemented by a store's data to return its [`WebsocketCtx`].
pub trait WebsocketView: Send {
    /// The context and the table.
    fn websocket(&mut self) -> WebsocketCtxView<'_>;
}
