//! A kernel that the distribution compiled, taken apart: the built-in recipe on the files of small packages.

use crate::project::{Project, Ran, files};
use std::collections::BTreeSet;
use std::path::Path;

const RELEASE: &str = "6.12.9+deb12-amd64";

const CONFIG: &str = "CONFIG_BLK_DEV_INITRD=y\nCONFIG_DEVTMPFS=y\nCONFIG_OVERLAY_FS=m\nCONFIG_PRINTK=y\nCONFIG_SQUASHFS=m\nCONFIG_SQUASHFS_LZ4=y\n\
    CONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_CONSOLE=m\nCONFIG_VIRTIO_PCI=y\nCONFIG_9P_FS=m\nCONFIG_NET_9P_VIRTIO=m\nCONFIG_HZ=250\n";

/// A project that takes its kernel as a package, of these files: modules by path with what they depend on.
fn project(config: &str, modules: &[(&str, &str)]) -> Project {
    let project = Project::new();
    project.write("quiz.toml", "[kernel]\nversion = \"package\"\n");
    let root = format!("/quiz/out/tree/usr/lib/modules/{RELEASE}");
    let mut script = format!(
        "mkdir -p /quiz/out/tree/boot {root}/kernel/drivers\ncd {root}\n\
         echo kernel/drivers/virtio/virtio_pci.ko >modules.builtin\ntouch modules.builtin.modinfo modules.order\n\
         printf '{}' >/quiz/out/tree/boot/config-{RELEASE}\necho k >/quiz/out/tree/boot/vmlinuz-{RELEASE}\n",
        config.replace('\n', "\\n")
    );
    for folder in ["char", "net", "scsi"] {
        script += &format!("mkdir -p kernel/drivers/{folder}\n");
    }
    for (path, needs) in modules {
        let text = format!("char m[] __attribute__((section(\".modinfo\"))) = \"depends={needs}\";");
        script += &format!("mkdir -p $(dirname {path})\necho '{text}' | gcc -c -x c -o {path} -\n");
    }
    project.recipe("linux-image", "[outputs]\ntree = \"tree\"\n[tools]\ngcc = \"gcc\"\n", &script);
    let agent = "mkdir -p /quiz/out/tree/.quiz\necho agent >/quiz/out/tree/.quiz/agent\n";
    project.recipe("agent", "[outputs]\ntree = \"tree\"\n", agent);
    project
}

const MODULES: &[(&str, &str)] = &[
    ("kernel/drivers/block/virtio_blk.ko", ""),
    ("kernel/drivers/char/hw_random/virtio-rng.ko", "rng-core"),
    ("kernel/drivers/char/hw_random/rng-core.ko", ""),
    ("kernel/drivers/char/virtio_console.ko", ""),
    ("kernel/drivers/gpu/drm/x.ko", ""),
    ("kernel/drivers/net/dummy.ko", ""),
    ("kernel/drivers/net/ethernet/y.ko", ""),
    ("kernel/fs/9p/9p.ko", "netfs,9pnet"),
    ("kernel/fs/netfs/netfs.ko", ""),
    ("kernel/fs/overlayfs/overlay.ko", ""),
    ("kernel/fs/squashfs/squashfs.ko", ""),
    ("kernel/net/9p/9pnet.ko", ""),
    ("kernel/net/9p/9pnet_virtio.ko", "9pnet"),
];

fn modules(tree: &Path) -> BTreeSet<String> {
    let names = files(tree).into_iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name.ends_with(".ko")).collect()
}

/// The outputs of the stage by name: `image`, `modules`, `config`.
fn made(project: &Project, output: &str) -> std::path::PathBuf {
    let ran = project.ok(&["build", "kernel-package"]);
    let line =
        ran.out.lines().find(|line| line.starts_with(&format!("{output} ")) || line.contains(&format!("/{output} ")));
    let line = line.unwrap_or_else(|| panic!("no {output}: {ran:?}"));
    line.rsplit(' ').next().unwrap().into()
}

#[test]
fn the_initrd_loads_each_module_after_those_that_it_needs() {
    let project = project(CONFIG, MODULES);
    let image = made(&project, "image");
    assert_eq!(std::fs::read(image.join("bzImage")).unwrap(), b"k\n");
    let initrd = std::fs::read(image.join("initrd")).unwrap();
    // The form "newc": a head of 110 bytes in which the sizes of name and contents stand in hex, and both padded to four bytes.
    let (mut at, mut entries) = (0, Vec::new());
    while at < initrd.len() {
        let field = |n: usize| {
            let hex = &initrd[at + 6 + 8 * n..at + 14 + 8 * n];
            usize::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap()
        };
        assert_eq!(&initrd[at..at + 6], b"070701");
        let (size, name) = (field(6), field(11));
        let text = String::from_utf8(initrd[at + 110..at + 110 + name - 1].to_vec()).unwrap();
        let start = (at + 110 + name).next_multiple_of(4);
        entries.push((text, initrd[start..start + size].to_vec()));
        at = (start + size).next_multiple_of(4);
    }
    let of = |name: &str| entries.iter().find(|(other, _)| other == name).map(|(_, text)| &text[..]);
    assert_eq!(of("init"), Some(&b"agent\n"[..]));
    let order = String::from_utf8(of("modules/order").unwrap().to_vec()).unwrap();
    let wanted = "virtio_blk.ko virtio_console.ko squashfs.ko overlay.ko netfs.ko 9pnet.ko 9p.ko 9pnet_virtio.ko rng-core.ko virtio-rng.ko";
    assert_eq!(order.lines().collect::<Vec<_>>().join(" "), wanted);
    for name in order.lines() {
        assert!(of(&format!("modules/{name}")).is_some_and(|file| file.starts_with(b"\x7fELF")), "{name}");
    }
    assert_eq!(entries.last().unwrap().0, "TRAILER!!!");
}

#[test]
fn a_package_without_9p_has_an_initrd_without_it() {
    let modules: Vec<_> = MODULES.iter().filter(|(path, _)| !path.contains("9p")).copied().collect();
    let project = project(&CONFIG.replace("CONFIG_9P_FS=m\nCONFIG_NET_9P_VIRTIO=m\n", ""), &modules);
    let initrd = std::fs::read(made(&project, "image").join("initrd")).unwrap();
    let has = |word: &[u8]| initrd.windows(word.len()).any(|window| window == word);
    assert!(has(b"virtio_blk.ko") && !has(b"9p"));
}

#[test]
fn drivers_of_hardware_stay_behind_unless_they_are_asked_for() {
    let project = project(CONFIG, MODULES);
    let all: BTreeSet<String> = MODULES.iter().map(|(path, _)| path.rsplit('/').next().unwrap().to_owned()).collect();
    let hardware = BTreeSet::from(["x.ko".to_owned(), "y.ko".to_owned()]);
    assert_eq!(modules(&made(&project, "modules")), &all - &hardware);
    project.write("quiz.toml", "[kernel]\nversion = \"package\"\n[recipe.kernel-package]\nhardware = true\n");
    assert_eq!(modules(&made(&project, "modules")), all);
}

fn refused(config: &str, toml: &str) -> Ran {
    let project = project(config, MODULES);
    project.write("c", "");
    project.write("quiz.toml", &format!("[kernel]\nversion = \"package\"\n{toml}"));
    let ran = project.run(&["build", "kernel-package"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran
}

#[test]
fn what_a_package_does_not_have_is_named_before_anything_boots() {
    let lacks = refused(&CONFIG.replace("CONFIG_VIRTIO_BLK=m\n", ""), "");
    lacks.says(&["has no CONFIG_VIRTIO_BLK, without which a guest of quiz cannot start (the layers)"]);
    let deaf = refused(&CONFIG.replace("CONFIG_NET_9P_VIRTIO=m\n", ""), "");
    deaf.says(&["has no CONFIG_NET_9P_VIRTIO, and 9P"]);
    let compressed = refused(&format!("{CONFIG}CONFIG_MODULE_COMPRESS_XZ=y\n"), "");
    compressed.says(&["has no CONFIG_MODULE_DECOMPRESS, and its modules are compressed"]);
    let asked = refused(
        CONFIG,
        "config = [\"CONFIG_KASAN=y\", \"SQUASHFS=y\", \"CONFIG_HZ=1000\", \"# CONFIG_PRINTK is not set\"]\n",
    );
    asked.says(&[
        "is not as profiles or settings ask for: CONFIG_HZ=1000 (is 250), CONFIG_KASAN=y, PRINTK=n (is y)\n",
        "take one that is compiled here: kernel.source = \"\", and a kernel.version (-k, or in quiz.toml) without `package`",
    ]);
    assert_eq!(asked.count("SQUASHFS"), 0, "a module will do: {asked:?}");
    refused(CONFIG, "config-file = \"c\"\n").says(&["kernel.config-file is for a kernel that is compiled here"]);
}

#[test]
fn a_stage_that_is_not_there_says_what_there_is_instead() {
    let project = project(CONFIG, MODULES);
    let ran = project.run(&["build", "kernel"]);
    assert_eq!(ran.status, Some(2), "{ran:?}");
    ran.says(&[
        "there is no stage `kernel`",
        "with kernel.source = \"package\" there is instead: kernel-package, kernel-package-devel",
    ]);
    let compiled = Project::new();
    let ran = compiled.run(&["build", "linux-image"]);
    ran.says(&["the stage `linux-image` is there only with kernel.source = \"package\""]);
    assert_eq!(compiled.ok(&["graph", "-v"]).count("linux-image"), 0);
}

#[test]
fn a_module_that_the_root_needs_and_no_package_has_is_named() {
    let without: Vec<_> = MODULES.iter().copied().filter(|(path, _)| !path.ends_with("/netfs.ko")).collect();
    let ran = project(CONFIG, &without).run(&["build", "kernel-package"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    ran.says(&["the package has no module netfs, which the guest loads before it has a root"]);
}

/// Headers as Debian has them, in three folders, of a kernel that this gcc compiled, or the one after it.
fn headers(newer: u32, fixdep: &str) -> Project {
    let project = Project::new();
    project.write("quiz.toml", "[kernel]\nversion = \"package\"\n");
    let script = format!(
        "mkdir -p /quiz/out/tree/usr/src /quiz/out/tree/usr/lib\ncd /quiz/out/tree/usr/src\n\
         common=linux-headers-6.12.9+deb12-common own=linux-headers-{RELEASE} kbuild=../lib/linux-kbuild-6.12.9+deb12\n\
         mkdir -p $common/include $own/include/config $own/include/generated $kbuild/scripts/basic $kbuild/tools\n\
         for folder in $common $own; do ln -s ../$kbuild/scripts ../$kbuild/tools $folder/; done\n\
         echo common >$common/Makefile\necho own >$own/Makefile\necho c >$common/include/c.h\necho CC=other >$own/.kernelvariables\n\
         version=$((($(gcc -dumpversion | cut -d . -f 1) + {newer}) * 10000))\n\
         echo CONFIG_GCC_VERSION=$version >$own/.config\n\
         echo 'CONFIG_CC_VERSION_TEXT=\"gcc-12 (of Debian)\"' >$own/include/config/auto.conf\necho 6.12.9 >$own/include/config/kernel.release\n\
         echo '#define UTS_RELEASE \"{RELEASE}\"' >$own/include/generated/utsrelease.h\n\
         printf '#!{fixdep}\\nexit 1\\n' >$kbuild/scripts/basic/fixdep\nchmod 0755 $kbuild/scripts/basic/fixdep\n\
         find . -type f -exec chmod a-w {{}} +\n"
    );
    project.recipe("linux-headers", "[outputs]\ntree = \"tree\"\n[tools]\ngcc = \"gcc\"\n", &script);
    project
}

#[test]
fn headers_of_three_packages_are_one_folder_that_says_its_release() {
    let project = headers(0, "/bin/sh");
    let devel = project.built("kernel-package-devel");
    let read = |path: &str| std::fs::read_to_string(devel.join(path)).unwrap_or_else(|e| e.kind().to_string());
    for (path, text) in [
        ("Makefile", "common\n"),
        ("include/c.h", "c\n"),
        ("include/config/kernel.release", "6.12.9+deb12-amd64\n"),
        (".kernelvariables", "entity not found"),
    ] {
        assert_eq!(read(path), text, "{path}");
    }
    let own = std::process::Command::new("gcc").arg("--version").output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    assert_eq!(
        read("include/config/auto.conf"),
        format!("CONFIG_CC_VERSION_TEXT=\"{}\"\n", own.lines().next().unwrap())
    );
    assert!(devel.join("scripts/basic/fixdep").is_file() && !devel.join("scripts").is_symlink());
}

#[test]
fn headers_of_another_compiler_or_with_programs_that_do_not_run_here_are_refused() {
    for (project, says) in [
        (headers(1, "/bin/sh"), "this kernel was compiled by gcc "),
        (headers(0, "/no/such/loader"), "the programs that come with this kernel's headers do not run here"),
    ] {
        let ran = project.run(&["build", "kernel-package-devel"]);
        assert_eq!(ran.status, Some(1), "{ran:?}");
        ran.says(&[says, "kernel.toolchain = \"trixie\""]);
    }
}

/// Sources that share a pin have to ask for the same.
#[test]
fn kernel_and_headers_are_of_one_pin() {
    let wish = |text: &str| {
        let mut recipe: toml::Table = toml::from_str(text).unwrap();
        let mut binary = recipe["source"]["binary"].as_table().unwrap().clone();
        binary.remove("take");
        binary.remove("root");
        (recipe.remove("options"), binary)
    };
    let headers = include_str!("../recipes/linux-headers/recipe.toml");
    assert_eq!(wish(include_str!("../recipes/linux-image/recipe.toml")), wish(headers));
}

/// What becomes of debug information where kernel and module have these build ids in the one package and in the other; without one where it is empty.
fn debugged(code: [&str; 2], debug: [&str; 2]) -> Ran {
    let project = Project::new();
    let elf = |path: &str, id: &str| {
        let id = if id.is_empty() { "none".to_owned() } else { format!("0x{id}") };
        format!(
            "mkdir -p $(dirname {path})\necho 'void _start(void) {{}}' | gcc -x c -c -o /quiz/scratch/o -\nld --build-id={id} -o {path} /quiz/scratch/o\n"
        )
    };
    let module = format!("lib/modules/{RELEASE}/kernel/x.ko");
    // A head of two sectors, and behind it the kernel, packed.
    let kernel = format!(
        "{}{}mkdir /quiz/out/image\ngzip -c vmlinux >packed\nsize=$(stat -c %s packed)\n\
         byte() {{ printf \"\\\\$(printf %03o \"$1\")\"; }}\nhead -c 497 /dev/zero >head\nbyte 1 >>head\nhead -c 90 /dev/zero >>head\n\
         byte $((size % 256)) >>head\nbyte $((size / 256)) >>head\nhead -c 434 /dev/zero >>head\n\
         cat head packed >/quiz/out/image/bzImage\n",
        elf("vmlinux", code[0]),
        elf(&format!("/quiz/out/modules/{module}"), code[1])
    );
    let tools = "[tools]\ngcc = \"gcc\"\ngzip = \"gzip\"\nld = \"binutils\"\nreadelf = \"binutils\"\n";
    project.recipe("t-kernel", &format!("[outputs]\nimage = \"tree\"\nmodules = \"tree\"\n{tools}"), &kernel);
    let root = "/quiz/out/tree/usr/lib/debug";
    let package =
        elf(&format!("{root}/boot/vmlinux-{RELEASE}"), debug[0]) + &elf(&format!("{root}/{module}"), debug[1]);
    project.recipe("t-package", &format!("[outputs]\ntree = \"tree\"\n{tools}"), &package);
    let inputs = "[inputs]\npackage = \"t-package/tree\"\nimage = \"t-kernel/image\"\nmodules = \"t-kernel/modules\"\n";
    // What puts two files together is not what is looked at here.
    let unstrip = "mkdir /quiz/scratch/bin\nprintf '#!/bin/sh\\ncp \"$4\" \"$2\"\\n' >/quiz/scratch/bin/eu-unstrip\n\
                   chmod +x /quiz/scratch/bin/eu-unstrip\nPATH=/quiz/scratch/bin:$PATH\n";
    let script = format!("{unstrip}{}", include_str!("../recipes/kernel-package-debug/build.sh"));
    project.recipe("t-debug", &format!("{inputs}[outputs]\nsymbols = \"tree\"\n{tools}"), &script);
    project.run(&["build", "t-debug"])
}

#[test]
fn debug_information_is_of_the_kernel_only_if_both_say_so() {
    let (one, other) = ("0123456789abcdef", "fedcba9876543210");
    let ran = debugged([one, other], [one, other]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    for (code, debug, words) in [
        ([one, one], [other, one], "the debug information of vmlinux is of another one"),
        ([one, one], [one, other], "kernel/x.ko is of another one than the kernel's"),
        ([one, one], [one, ""], "kernel/x.ko is of another one than the kernel's"),
        (["", one], ["", one], "the kernel's vmlinux has no build id"),
        ([one, ""], [one, ""], "kernel/x.ko has no build id"),
    ] {
        let ran = debugged(code, debug);
        assert_eq!(ran.status, Some(1), "{words}: {ran:?}");
        ran.says(&[words]);
    }
}
