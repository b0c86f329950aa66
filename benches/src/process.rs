//! The processes of a run: each starts on its own processor, reads commands line by line, and is measured with figures of the
//! operating system.

use anyhow::{Context, Result, bail};
use bench_exchange::{Job, Sample};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

/// How long to wait after a process has ended, before the next is measured.
const SETTLE: Duration = Duration::from_millis(20);

/// Where processes are placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// With the servers.
    Peer,
    /// With the contenders.
    Measured,
}

/// The processors of the two places; `None` if there are fewer, or on request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors(Option<[usize; 2]>);

impl Processors {
    /// The first two that this process may use.
    pub(crate) fn find(apart: bool) -> Result<Processors> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let mut usable = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false));
        Ok(Processors(match (apart, usable.next(), usable.next()) {
            (true, Some(first), Some(second)) => Some([first, second]),
            _ => None,
        }))
    }

    pub(crate) fn are_apart(self) -> bool {
        self.0.is_some()
    }

    /// Starts a command that inherits the place.
    fn spawn(self, place: Place, command: &mut Command) -> Result<Child> {
        let Some(processors) = self.0 else { return Ok(command.spawn()?) };
        let me = Pid::from_raw(0);
        let before = sched_getaffinity(me)?;
        let mut only = CpuSet::new();
        only.set(processors[usize::from(place == Place::Measured)])?;
        sched_setaffinity(me, &only)?;
        let child = command.spawn();
        sched_setaffinity(me, &before)?;
        Ok(child?)
    }
}

/// A process that answers line by line; killed when dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

/// The cost of a job.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) sample: Sample,
    /// Processor time of the process that is measured, from `go` to its answer.
    pub(crate) cpu: Duration,
}

impl Process {
    pub(crate) fn start(processors: Processors, place: Place, command: &mut Command) -> Result<Process> {
        let name = format!("{command:?}");
        let mut child = processors
            .spawn(place, command.stdin(Stdio::piped()).stdout(Stdio::piped()))
            .with_context(|| format!("cannot start {name}"))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).context("its pipes were asked for")?;
        Ok(Process { name, child, input, lines: BufReader::new(output).lines() })
    }

    /// A subcommand of this program.
    pub(crate) fn own(processors: Processors, place: Place, args: &[&str]) -> Result<Process> {
        let program = std::env::current_exe()?;
        Process::start(processors, place, Command::new(program).args(args))
    }

    pub(crate) fn line(&mut self) -> Result<String> {
        let line = self.lines.next().with_context(|| format!("{} has ended; its messages are above", self.name))?;
        Ok(line?)
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").with_context(|| format!("{} has ended", self.name))
    }

    /// Makes it prepare a job.
    pub(crate) fn prepare(&mut self, job: &Job) -> Result<()> {
        self.tell(&serde_json::to_string(job)?)?;
        match self.line()?.as_str() {
            "ready" => Ok(()),
            other => bail!("{} said {other:?} where \"ready\" was due", self.name),
        }
    }

    /// Makes it do the prepared job.
    pub(crate) fn go(&mut self) -> Result<Sample> {
        self.tell("go")?;
        Ok(serde_json::from_str(&self.line()?)?)
    }

    /// Makes it do a job, and measures it, or the relay or transport between it and the server.
    pub(crate) fn measure(&mut self, job: &Job, behind: Option<&Process>) -> Result<Measured> {
        self.prepare(job)?;
        sleep(SETTLE);
        let before = behind.unwrap_or(self).cpu()?;
        let sample = self.go()?;
        let cpu = behind.unwrap_or(self).cpu()? - before;
        sleep(SETTLE);
        Ok(Measured { sample, cpu })
    }

    /// The processor time of all its threads so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        Ok(clock_gettime(clock_getcpuclockid(self.pid()?)?)?.into())
    }

    /// Its resident memory, in bytes. Pages that it has mapped several times, such as what all instances of a guest begin
    /// with, count once.
    pub(crate) fn resident(&self) -> Result<u64> {
        let file = format!("/proc/{}/smaps_rollup", self.pid()?);
        let text = std::fs::read_to_string(Path::new(&file)).with_context(|| format!("cannot read {file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("it has resident memory")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(self.child.id().try_into()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It fails only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
