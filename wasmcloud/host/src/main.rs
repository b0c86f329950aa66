//! A wasmCloud host in one process: serves a component over HTTP and gives it WebSockets.

use anyhow::{Context, Result};
use clap::Parser;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc};
use wash_runtime::{
    engine::Engine,
    host::{HostApi, HostBuilder},
    plugin::wasi_http::HttpServer,
    types::{Component, LocalResources, Workload, WorkloadStartRequest, WorkloadStopRequest},
};
use wasmcloud_websocket_plugin::{Settings, WebsocketPlugin};

/// Serves a component that exports wasi:http/incoming-handler, and gives it WebSockets.
#[derive(Parser)]
struct Args {
    /// Where to serve HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A setting of the plugin, such as allow=localhost:9001; as often as needed
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// An environment variable for the component; as often as needed
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// The component
    guest: PathBuf,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let Args { listen, set, env, guest } = Args::parse();
    let bytes = tokio::fs::read(&guest).await.with_context(|| format!("cannot read {}", guest.display()))?;
    let mut settings = Settings::default();
    for (name, value) in &set {
        settings.set(name, value).with_context(|| format!("--set {name}"))?;
    }

    let host = HostBuilder::new()
        .with_engine(Engine::builder().with_pooling_allocator(false).build()?)
        .with_plugin(Arc::new(HttpServer::new(listen)))?
        .with_plugin(Arc::new(WebsocketPlugin::new(settings)?))?
        .build()?;
    let host = host.start().await.with_context(|| format!("cannot serve HTTP at {listen}"))?;
    let local_resources = LocalResources { environment: env.into_iter().collect(), ..LocalResources::default() };
    let workload = Workload {
        namespace: "default".to_owned(),
        name: guest.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        annotations: Default::default(),
        service: None,
        components: vec![Component { bytes: bytes.into(), local_resources, ..Component::default() }],
        host_interfaces: vec!["wasi:http/incoming-handler".into(), "wasmcloud:websocket/client@0.1.0-draft".into()],
        volumes: Vec::new(),
    };
    let started = host.workload_start(WorkloadStartRequest { workload }).await?;
    println!("serving {} at http://{listen}", guest.display());

    tokio::signal::ctrl_c().await?;
    let workload_id = started.workload_status.workload_id;
    host.workload_stop(WorkloadStopRequest { workload_id }).await?;
    host.stop().await
}
