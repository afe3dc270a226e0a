//! `quiz mcp`: quiz for programs that speak the Model Context Protocol, over stdin and stdout.
//!
//! Each tool is a command of quiz with --json, run by a process of its own: whose project counts, and what runs where, is what that says. What may
//! take longer has a job's number; no answer takes longer than a minute. When the client hangs up, all jobs end, and their machines with them.

mod answer;
mod jobs;
mod outputs;
mod pages;
mod tools;

use super::args::{Cli, Global};
use crate::boot::Stop;
use crate::error::{Error, Result};
use crate::status;
use answer::{Answer, Wanted};
use jobs::{Asked, Job, Jobs};
use outputs::{Piece, Stream};
use pages::{Part, Text};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::{RequestContext, ServerInitializeError};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

/// What a tool waits at most: clients give up after a minute.
const LONGEST: Duration = Duration::from_secs(50);
/// The most bytes that are read of what a command that only looks (graph, why, crash) prints: the answer is made out of them here.
const LARGEST: usize = 16 << 20;
/// How long the tool exec waits for its program, if the client does not say.
const EXEC: Duration = Duration::from_secs(20);

const INSTRUCTIONS: &str = "quiz builds a Linux kernel, a root and OpenZFS as cached stages and runs programs in a virtual machine of them. \
    build, run and test give a job's number at once, or what there is after `wait` seconds: ask the tool job for the rest (state, events since `next`, \
    exit). exit.of says whose a status is: the program's own, or a machine that was lost, panicked or was too slow. A run without a program stays: \
    use exec in it, and stop it in the end. A result with isError has what is wrong, and what to do next.";

/// Serves until the client hangs up, or a signal ends it; then ends what runs.
///
/// # Errors
/// stdin and stdout are no connection to a client.
pub(super) fn run(cli: &Cli) -> Result<u8> {
    let failed = |e| Error::boot("quiz mcp cannot start").because(e);
    // One thread: what it starts dies with it, and the jobs are processes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
    let server = Server { jobs: Arc::default(), global: Arc::new(cli.global.clone()) };
    let jobs = Arc::clone(&server.jobs);
    let ended = runtime.block_on(async {
        let stop = Stop::on_signals()?;
        let ended = tokio::select! {
            served = serve(server) => served.map(|()| status::FINE),
            signal = signal(stop) => signal.map_err(failed),
        };
        let all: Vec<_> = jobs.all().into_iter().map(|job| tokio::spawn(async move { job.stop().await })).collect();
        for stopped in all {
            // Ends with an error only if the task panicked; the other jobs are waited for all the same.
            let _ = stopped.await;
        }
        ended
    });
    // A thread of tokio's may still read stdin.
    runtime.shutdown_background();
    ended
}

async fn serve(server: Server) -> Result<()> {
    let failed = |e: String| Error::input(format!("this is no client of the Model Context Protocol: {e}"));
    match server.serve((tokio::io::stdin(), tokio::io::stdout())).await {
        Ok(running) => running.waiting().await.map(drop).map_err(|e| failed(e.to_string())),
        // The client hung up before it said a word.
        Err(ServerInitializeError::ConnectionClosed(_)) => Ok(()),
        Err(e) => {
            Err(failed(e.to_string()).hint("quiz mcp is started by a program, such as an editor: docs/mcp.md says how"))
        }
    }
}

/// Comes back when a signal has come.
async fn signal(stop: Stop) -> std::io::Result<u8> {
    let (read, write) = UnixStream::pair()?;
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        // Registered after the handlers of `stop`, and so called after them: when this wakes, the flag in `stop` is set.
        signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
    }
    read.set_nonblocking(true)?;
    let mut read = tokio::net::UnixStream::from_std(read)?;
    loop {
        // `stop` leaves out a signal that quiz was started to ignore, as by nohup.
        if let Some(signal) = stop.signal() {
            return Ok(status::signal(signal));
        }
        read.read_u8().await?;
    }
}

struct Server {
    jobs: Arc<Jobs>,
    global: Arc<Global>,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("quiz", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(all()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> std::result::Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if !all().iter().any(|tool| tool.name == name) {
            let names = all().iter().map(|tool| tool.name.to_string()).collect::<Vec<_>>().join(", ");
            return Err(ErrorData::invalid_params(format!("there is no tool {name}; there are: {names}"), None));
        }
        let result = self.call(name, request.arguments.unwrap_or_default()).await;
        Ok(result.unwrap_or_else(|error| wrong(&error.to_string(), error.hints())).into())
    }
}

/// A tool of that name, which takes `T`.
fn tool<T: JsonSchema>(name: &'static str, about: &'static str, reads_only: bool) -> Tool {
    let schema = match json!(tools::schema::<T>()) {
        Json::Object(schema) => schema,
        _ => Map::new(),
    };
    let hints = ToolAnnotations::new().read_only(reads_only).destructive(false).open_world(false);
    Tool::new(name, about, Arc::new(schema)).with_annotations(hints)
}

fn all() -> Vec<Tool> {
    vec![
        tool::<tools::Build>("build", "Build stages without booting. Starts a job", false),
        tool::<tools::Run>(
            "run",
            "Build what changed, boot a fresh machine, and run a program in it, or without one let it stay for exec. Starts a job",
            false,
        ),
        tool::<tools::Exec>("exec", "Run a further program in a machine that runs. Starts a job", false),
        tool::<tools::Test>(
            "test",
            "Run the ZFS Test Suite, or a list of commands, each in a machine of its own. Starts a job",
            false,
        ),
        tool::<tools::Graph>(
            "graph",
            "All stages of the project's image: which are cached, stale or missing. Builds nothing",
            true,
        ),
        tool::<tools::Why>("why", "What a stage is made of, or what changed since it was made. Builds nothing", true),
        tool::<tools::OfRun>(
            "crash",
            "What is known of a guest that crashed, hung or was too slow; without a run: a list of all",
            true,
        ),
        tool::<tools::OfRun>(
            "logs",
            "What the kernel of a run's machine said [default: the newest run's]; without a cursor the end of it",
            true,
        ),
        tool::<tools::OfJob>("job", "A job: state, events since a cursor, exit, result, output; or all jobs", true),
        tool::<tools::Stop>("stop", "End a job, and its machine with it", false),
    ]
}

/// An error of a tool: what is wrong, and what to do next.
fn wrong(message: &str, hints: &[String]) -> CallToolResult {
    let hints: String = hints.iter().map(|hint| format!("\nhint: {hint}")).collect();
    CallToolResult::error(vec![ContentBlock::text(format!("{message}{hints}"))])
}

fn unread(e: std::io::Error) -> Error {
    Error::boot("the job's files cannot be read").because(e)
}

fn structured(value: impl Serialize) -> CallToolResult {
    CallToolResult::structured(json!(value))
}

/// A job's answer; an error if quiz could not do what it was to do.
fn told(answer: Answer) -> CallToolResult {
    let Some(error) = &answer.error else { return structured(answer) };
    let lines = |name: &str| {
        let all = error[name].as_array().into_iter().flatten();
        all.filter_map(Json::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let message = error["message"].as_str().unwrap_or_default();
    let whole = [vec![message.to_owned()], lines("details"), lines("causes")].concat().join("\n");
    let mut result = wrong(&whole, &lines("hints"));
    result.structured_content = Some(json!(answer));
    result
}

impl Server {
    async fn call(&self, name: &str, given: Map<String, Json>) -> Result<CallToolResult> {
        let global = &*self.global;
        let wait = |wait: tools::Patience, default| wait.wait.map_or(default, Duration::from_secs).min(LONGEST);
        let (asked, patience, part) = match name {
            "build" => {
                let build = tools::read::<tools::Build>(given)?;
                (build.asked(global)?, wait(build.patience, Duration::ZERO), None)
            }
            "run" => {
                let run = tools::read::<tools::Run>(given)?;
                (run.asked(global)?, wait(run.patience, Duration::ZERO), None)
            }
            "exec" => {
                let exec = tools::read::<tools::Exec>(given)?;
                (exec.asked(global)?, wait(exec.patience, EXEC), None)
            }
            "test" => {
                let test = tools::read::<tools::Test>(given)?;
                (test.asked(global)?, wait(test.patience, Duration::ZERO), None)
            }
            "graph" => {
                let graph = tools::read::<tools::Graph>(given)?;
                (graph.asked(global)?, LONGEST, Some(graph.part))
            }
            "why" => (tools::read::<tools::Why>(given)?.asked(global)?, LONGEST, Some(Part::default())),
            "crash" => {
                let of = tools::read::<tools::OfRun>(given)?;
                (of.crash(global)?, LONGEST, Some(of.part))
            }
            "logs" => {
                let of = tools::read::<tools::OfRun>(given)?;
                (of.logs(global)?, LONGEST, Some(of.part))
            }
            "job" => return self.job(tools::read(given)?).await,
            _ => return self.stop(tools::read::<tools::Stop>(given)?.job).await,
        };
        let job = self.start(asked)?;
        job.wait(patience).await;
        match part {
            Some(part) if job.ended().is_some() => looked(&job, part),
            _ => Ok(told(answer::whole(&job, Wanted::default()).map_err(unread)?)),
        }
    }

    fn start(&self, asked: Asked) -> Result<Arc<Job>> {
        self.jobs.start(asked).map_err(|e| {
            Error::boot(format!("no job can be started: {e}"))
                .hint("the tool `job` without a number lists all jobs, and `stop` ends one")
        })
    }

    fn find(&self, number: u32) -> Result<Arc<Job>> {
        self.jobs.find(number).ok_or_else(|| {
            Error::input(format!("there is no job {number}")).hint("the tool `job` without a number lists all")
        })
    }

    async fn job(&self, asked: tools::OfJob) -> Result<CallToolResult> {
        let Some(number) = asked.job else {
            let all = answer::list(&self.jobs.all()).map_err(unread)?;
            return Ok(structured(pages::list(all, asked.part)));
        };
        let job = self.find(number)?;
        job.wait(asked.patience.wait.map_or(Duration::ZERO, Duration::from_secs).min(LONGEST)).await;
        let tools::OfJob { part, stdout_from, stderr_from, all, .. } = asked;
        let answer = answer::whole(&job, Wanted { events: part, stdout_from, stderr_from, all }).map_err(unread)?;
        // No error of this tool if the job failed: asking for it went well.
        Ok(structured(answer))
    }

    async fn stop(&self, number: u32) -> Result<CallToolResult> {
        let job = self.find(number)?;
        job.stop().await;
        Ok(structured(answer::whole(&job, Wanted::default()).map_err(unread)?))
    }
}

/// What a command that only looks has printed: a part of a list or of a log, or all.
fn looked(job: &Job, part: Part) -> Result<CallToolResult> {
    let answer = answer::whole(job, Wanted::default()).map_err(unread)?;
    if answer.error.is_some() {
        return Ok(told(answer));
    }
    let read = |from, most| job.files.read(Stream::Stdout, from, most).map_err(unread);
    if job.words.first().is_some_and(|word| word == "logs") {
        let (from, most) = pages::of_text(read(0, 0)?.total, part);
        let Piece { bytes, from, total, cut } = read(from, most)?;
        let is_whole = from + bytes.len() as u64 >= total;
        return Ok(structured(Text { cut, ..pages::text(&bytes, from, total, is_whole) }));
    }
    // What is longer than LARGEST is cut here, and then is no JSON.
    Ok(match serde_json::from_slice(&read(0, LARGEST)?.bytes) {
        Ok(Json::Array(all)) => structured(pages::list(all, part)),
        Ok(one) => structured(one),
        Err(_) => told(answer),
    })
}
