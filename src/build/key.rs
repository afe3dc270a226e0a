//! The key of a stage: everything that can change its result, and nothing else.
//!
//! | value | enters the key as |
//! |---|---|
//! | recipe name, version, arch | themselves |
//! | the recipe's files (script and data) | digest of the folder without recipe.toml |
//! | which of them is the script; whether it may change into another root | themselves |
//! | options, with the values they have now | themselves, of a file the digest; those of a source stage only through its pin |
//! | outputs the recipe promises | name and kind |
//! | inputs | digest of the output they name, filtered to the paths they name |
//! | profiles that are on, for an input `$profiles` | digest of their files |
//! | the root that the script runs in, made of packages | digest of it; then no tool of the host counts |
//! | what becomes of packages of which a root is made | themselves |
//! | tools of the host | digest of all that each consists of (the table in `tools/identity.rs`); an optional one that is not there, one on demand that no profile asks for: `missing` |
//! | headers and libraries of the host, if a tool is a compiler | digest of all of them (`tools/headers.rs`) |
//! | the pin of a source stage | versions and checksums, of git the tree's id, never hosts; the paths a tarball may have in its package |
//! | `LAYOUT` | itself: how scripts are run |
//! | `about`, package names of tools, which setting fills an option | not at all |
//! | the parameter of a stage such as `layer:work/tree` | not at all: equal inputs give equal results |
//! | a folder that people edit, as a source stage | digest of its files |
//! | whether and how it builds on what an earlier run left | themselves, if it does |
//! | of what runs outside of a sandbox: something that this cache alone knows | digest |
//! | number of jobs, place of cache and project, user, time | not at all |
//!
//! The family of a persistent folder says which builds may go on in it. It is made in the same way, without the inputs that are brought
//! into the folder.
//!
//! One pass writes both the key and the readable manifest that `quiz why` compares.

use super::tools::{self, MISSING};
use super::{Context, Records};
use crate::error::{Error, Result};
use crate::graph::{Bound, BoundInput, NodeIndex, Stage};
use crate::host;
use crate::load::{OutputKind, Value};
use crate::source::RootSpec;
use quiz_cache::{Digest, Key, KeyEncoder, Manifest, Output};
use std::sync::Mutex;

/// Raised when scripts are run in another way (paths, environment, namespaces), so that no result of the old way is taken for one of the new.
const LAYOUT: u64 = 3;

/// The key of a stage whose inputs' records are all known.
pub(super) fn key(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<(Key, Manifest)> {
    let mut encoder = KeyEncoder::new("quiz stage key 1");
    encode(ctx, id, known, &[], &mut encoder)?;
    Ok(encoder.finish())
}

/// What the key of a stage is made of as far as that is known: without the inputs of these names.
pub(super) fn partly(ctx: &Context<'_>, id: NodeIndex, known: &Records, without: &[String]) -> Result<Manifest> {
    let mut encoder = KeyEncoder::new("quiz part of a key 1");
    encode(ctx, id, known, without, &mut encoder)?;
    Ok(encoder.finish().1)
}

/// What all builds that may go on in one persistent folder have in common.
pub(super) fn family(ctx: &Context<'_>, id: NodeIndex, known: &Records) -> Result<Key> {
    let synced = ctx.graph.stage(id).recipe.incremental.as_ref().map_or(&[][..], |i| &i.sync);
    let mut encoder = KeyEncoder::new("quiz scratch family 1");
    encode(ctx, id, known, synced, &mut encoder)?;
    Ok(encoder.finish().0)
}

fn encode(
    ctx: &Context<'_>,
    id: NodeIndex,
    known: &Records,
    without: &[String],
    encoder: &mut KeyEncoder,
) -> Result<()> {
    let stage = ctx.graph.stage(id);
    let recipe = &stage.recipe;
    encoder.number("layout", LAYOUT);
    encoder.text("recipe", &recipe.name);
    encoder.number("version", recipe.version);
    encoder.text("arch", ctx.project.settings.text("arch"));
    encoder.digest("files", &ctx.recipe_folder(recipe)?.output().digest);
    encoder.text("script", recipe.script().unwrap_or(""));
    // `uids` is a name from earlier versions and has no meaning now; with any other name every stage would get a new key.
    encoder.flag(if recipe.chroot { "chroot" } else { "uids" }, recipe.chroot);
    let kbuild = ctx.project.compiler.kbuild();
    if recipe.compiler && !kbuild.is_empty() {
        encoder.text("kbuild", &kbuild);
    }
    if let Some(incremental) = &recipe.incremental {
        encoder.list("incremental/sync", &incremental.sync);
        encoder.text("incremental/into", incremental.into.as_deref().unwrap_or(""));
    }
    if let Some(live) = ctx.live.get(&id) {
        encoder.digest("tree", &live.output().digest);
    } else if let (Some(spec), Some(pin)) = (recipe.source(), ctx.pins.get(&id)) {
        let of_binary = spec.binary.as_ref().map(|binary| &binary.root);
        if let Some(root) = spec.packages.as_ref().and_then(|packages| packages.root.as_ref()).or(of_binary) {
            encode_root(root, encoder);
        }
        encoder.text("tarball", &spec.debian.as_ref().map_or(String::new(), |debian| debian.tarball.join("\n")));
        for (name, value) in spec.part(pin).facts() {
            encoder.text(&format!("pin/{name}"), &value);
        }
    }
    if stage.is_outside() {
        encoder.digest("this cache's own", &own(ctx)?);
    }
    encode_options(stage, encoder);
    for (name, kind) in &recipe.outputs {
        let kind = match kind {
            OutputKind::File => "file",
            OutputKind::Tree => "tree",
        };
        encoder.text(&format!("output/{name}"), kind);
    }
    for input in stage.inputs.iter().filter(|input| !without.contains(&input.name)) {
        encoder.digest(&format!("input/{}", input.name), &input_digest(ctx, &input.from, &input.paths, known)?);
    }
    // In a toolchain's root no tool of the host counts. The root's digest is among the inputs.
    if stage.toolchain().is_some() {
        return Ok(());
    }
    for tool in recipe.tools.keys().chain(recipe.optional_tools.keys()) {
        encoder.text(&format!("{}{tool}", tools::TOOL), ctx.tools.get(tool));
    }
    for tool in recipe.tools_on_demand.keys() {
        let identity = if ctx.is_asked_for(tool) { ctx.tools.get(tool) } else { MISSING };
        encoder.text(&format!("{}{tool}", tools::TOOL), identity);
    }
    if tools::needs_headers(recipe, |tool| ctx.is_asked_for(tool)) {
        encoder.text(tools::HEADERS, ctx.tools.headers());
    }
    Ok(())
}

/// A random value of this cache that nobody else knows, so that no imported pack can have a result under such a key. It is made when it
/// is first needed.
fn own(ctx: &Context<'_>) -> Result<Digest> {
    const MEMO: &str = "own";
    // One thread at a time, so that two stages do not make two values.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock();
    let failed = |e| Error::build("the cache cannot be used").because(e);
    let key = KeyEncoder::new("quiz own 1").finish().0;
    let known = || Ok(ctx.cache.memo(MEMO, &key).map_err(failed)?.map(|bytes| Digest::of(&bytes)));
    if let Some(digest) = known()? {
        return Ok(digest);
    }
    let random: [u8; 32] = host::random().map_err(|e| Error::build("cannot read /dev/urandom").because(e))?;
    ctx.cache.set_memo(MEMO, &key, &random).map_err(failed)?;
    // Read back: another process may have stored its own value at the same time, and only one of them stays.
    known()?.ok_or_else(|| Error::build("the cache lost a value that was written a moment ago"))
}

/// The options that a script gets. Those of a source stage count only through its pin.
fn encode_options(stage: &Stage, encoder: &mut KeyEncoder) {
    for (name, value) in stage.options.iter().filter(|_| stage.recipe.source().is_none()) {
        let name = format!("option/{name}");
        match value {
            Value::Text(text) => encoder.text(&name, text),
            Value::List(items) => encoder.list(&name, items),
            Value::Number(number) => encoder.number(&name, *number),
            Value::Flag(flag) => encoder.flag(&name, *flag),
            Value::File { text, .. } => encoder.digest(&name, &Digest::of(text.as_bytes())),
        };
    }
}

/// How a root is made of packages: what is kept, left out, linked and added.
fn encode_root(root: &RootSpec, encoder: &mut KeyEncoder) {
    encoder.list("root/keep", &root.keep).list("root/drop", &root.drop);
    for (path, targets) in &root.links {
        encoder.list(&format!("root/link/{path}"), targets);
    }
    for (path, text) in &root.files {
        encoder.text(&format!("root/file/{path}"), text);
    }
}

/// Whether the digest of an input is known. That of a part of a tree is not if the cache has no list of the tree's files: the record came in
/// a pack without the list, or the list is damaged.
pub(super) fn is_told(ctx: &Context<'_>, input: &BoundInput, known: &Records) -> Result<bool> {
    let Bound::Output { stage, output } = &input.from else { return Ok(true) };
    let Some(record) = known.get(stage) else { return Ok(false) };
    if ctx.live.contains_key(stage) {
        return Ok(true);
    }
    ctx.cache.has_subtree(&record.outputs[output], &input.paths).map_err(super::cache_error)
}

/// The digest of what a script sees as one input.
pub(super) fn input_digest(ctx: &Context<'_>, from: &Bound, paths: &[String], known: &Records) -> Result<Digest> {
    match from {
        Bound::Profiles => Ok(ctx.profile_folder()?.output().digest),
        Bound::Output { stage, output } => {
            let whole: &Output = &known[stage].outputs[output];
            if paths.is_empty() {
                return Ok(whole.digest);
            }
            let part = match ctx.live.get(stage) {
                Some(live) => ctx.cache.subtree_from_scan(live, paths),
                None => ctx.cache.subtree(whole, paths),
            };
            Ok(part.map_err(super::cache_error)?.digest)
        }
    }
}
