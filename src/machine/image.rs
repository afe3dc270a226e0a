//! Reads an image: the description that the stage `image` made, its output `description`, which names a kernel and the layers of a root.
//!
//! Knows nothing of how they were built, and does not look whether the objects are there: the caller turns digests into paths.

use std::path::Path;

use quiz_cache::Digest;
use serde::Deserialize;

use super::guest::Arch;
use crate::error::{Error, Result};

/// What an image consists of. Nothing in it belongs to one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// For which processor.
    pub arch: Arch,
    /// The tree `kernel/image`.
    pub kernel: Digest,
    /// The file in it that is started: `vmlinux`, by its PVH entry, or what the architecture's boot loaders take.
    pub start: String,
    /// The file there that brings its drivers, if they are modules.
    pub initrd: Option<String>,
    /// Ticks of its clock a second (CONFIG_HZ), on an architecture that has that choice.
    pub hz: Option<u32>,
    /// Processors that its kernel can have (CONFIG_NR_CPUS), where the description says that.
    pub cpus: Option<u32>,
    /// Layers of the root; the first one is /dev/vda and lies on top.
    pub layers: Vec<Digest>,
    /// Words of the kernel command line that every machine of this image needs.
    pub append: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    arch: Arch,
    kernel: String,
    start: Option<String>,
    initrd: Option<String>,
    hz: Option<u32>,
    cpus: Option<u32>,
    layers: Vec<String>,
    #[serde(default)]
    append: String,
}

/// Reads the image description in the file `path`.
///
/// # Errors
/// When the file cannot be read, is no image description, or names no layer.
pub fn read(path: &Path) -> Result<Image> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::boot(format!("cannot read the image description {}", path.display())).because(e))?;
    parse(&text).map_err(|e| e.detail(format!("in {}", path.display())))
}

fn parse(text: &str) -> Result<Image> {
    let text: Text = toml::from_str(text).map_err(|e| Error::boot("this is no image description").because(e))?;
    let digest = |hex: &String| {
        hex.parse::<Digest>()
            .map_err(|e| Error::boot(format!("{hex:?} in an image description is no digest")).because(e))
    };
    // Only a plain name: by another path qemu would give any file of the host to the guest.
    let is_name = |name: &String| !name.contains('/') && ![".", "..", ""].contains(&name.as_str());
    if let Some(name) = text.start.iter().chain(&text.initrd).find(|name| !is_name(name)) {
        return Err(Error::boot(format!("{name:?} in an image description is no name of a file of the kernel's")));
    }
    let layers = text.layers.iter().map(digest).collect::<Result<Vec<_>>>()?;
    if layers.is_empty() {
        return Err(Error::boot("the image description names no layer"));
    }
    Ok(Image {
        arch: text.arch,
        kernel: digest(&text.kernel)?,
        start: text.start.unwrap_or_else(|| "vmlinux".to_owned()),
        initrd: text.initrd,
        hz: text.hz,
        cpus: text.cpus,
        layers,
        append: text.append.split_whitespace().map(str::to_owned).collect(),
    })
}

/// An image description, for the fuzz targets.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(text: &str) {
    assert!(parse(text).is_ok_and(|image| !image.layers.is_empty()) || parse(text).is_err());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_gives_kernel_layers_and_words() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let text =
            format!("arch = \"x86_64\"\nkernel = \"{a}\"\nlayers = [\"{b}\", \"{a}\"]\nappend = \"ro  quiet\"\n");
        let image = parse(&text).unwrap();
        assert_eq!((image.arch, image.hz, image.cpus), (Arch::X86_64, None, None));
        let told = parse(&format!("hz = 250\ncpus = 64\n{text}")).unwrap();
        assert_eq!((told.hz, told.cpus), (Some(250), Some(64)));
        assert_eq!((image.kernel, image.start.as_str(), image.layers), (a, "vmlinux", vec![b, a]));
        assert_eq!(parse(&format!("start = \"bzImage\"\n{text}")).unwrap().start, "bzImage");
        assert_eq!(parse(&format!("initrd = \"i\"\n{text}")).unwrap().initrd.as_deref(), Some("i"));
        assert_eq!(image.initrd, None);
        assert_eq!(image.append, ["ro", "quiet"]);
    }

    #[test]
    fn what_cannot_boot_is_refused() {
        let a = Digest::of(b"a");
        for text in [
            format!("arch = \"x86_64\"\nkernel = \"{a}\"\nlayers = []\n"),
            format!("arch = \"vax\"\nkernel = \"{a}\"\nlayers = [\"{a}\"]\n"),
            format!("arch = \"x86_64\"\nkernel = \"no\"\nlayers = [\"{a}\"]\n"),
            format!("arch = \"x86_64\"\nkernel = \"{a}\"\nlayers = [\"{a}\"]\nmore = 1\n"),
            format!("initrd = \"/etc/passwd\"\narch = \"x86_64\"\nkernel = \"{a}\"\nlayers = [\"{a}\"]\n"),
            format!("start = \"../x\"\narch = \"x86_64\"\nkernel = \"{a}\"\nlayers = [\"{a}\"]\n"),
        ] {
            assert!(parse(&text).is_err(), "{text}");
        }
    }
}
