//! `bench ROUNDS COUNT`: the same guest code in three hosts against one server, in turns: so many rounds, each of so
//! many calls of each kind. Prints a table in Markdown.

mod hosts;
mod report;

use anyhow::{Context, Result, bail};
use hosts::{OnLattice, Plugin, Program};
use lattice_tests::Echo;
use report::Times;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [rounds, count] = arguments.as_slice() else { bail!("usage: bench ROUNDS COUNT") };
    let rounds: u32 = rounds.parse().context("ROUNDS is not a number")?;
    let count: u32 = count.parse().context("COUNT is not a number")?;

    let echo = Echo::start().await;
    let url = echo.url();
    let mut program = Program::start().await?;
    let plugin = Plugin::start(&url).await?;
    let lattice = OnLattice::start(&url).await?;
    let mut times = [Times::default(), Times::default(), Times::default()];
    // The first round warms up.
    for round in 0..=rounds {
        let said =
            [program.measure(&url, count).await?, plugin.measure(count).await?, lattice.measure(&url, count).await?];
        if round > 0 {
            for (times, said) in times.iter_mut().zip(&said) {
                times.add(said)?;
            }
        }
    }
    print!(
        "{}",
        report::table(&["the program", "the plugin, in process", "the provider, over the lattice"], &mut times)
    );
    Ok(())
}
