//! Recorded output of apt 2.6.

use super::*;

const SUM: &str = "ae95fe63d4c553f8d0e6c86cb1ab566f3894a43743eb19ab585cd97d82f26514";

#[test]
fn small_texts() {
    assert_eq!(progress("dlstatus:1:45.3021:Retrieving file 1 of 1 (3s remaining)", 1000), Some(453));
    assert_eq!(progress("dlstatus:1:100:x", 1000), Some(1000));
    assert_eq!(progress("dlstatus:1:99999999999999999999:x", 1000), None);
    assert_eq!(progress("dlstatus:1:9999999999999999999.99:x", u64::MAX), Some(u64::MAX));
    assert_eq!(progress("Get:1 http://mirror.example.org/debian", 1000), None);
}

#[test]
fn a_server_that_has_no_such_suite_and_one_that_cannot_be_reached() {
    let at = "http://mirror.example.org/debian";
    for there_is_none in [
        format!("E: The repository '{at} trixy Release' does not have a Release file."),
        format!("E: Failed to fetch {at}/dists/trixy/main/binary-amd64/Packages  404  Not Found [IP: 192.0.2.1 80]"),
        "E: Failed to fetch copy:/mirror/dists/trixy/main/binary-amd64/Packages  Failed to stat - stat (2: No such file or directory)".to_owned(),
    ] {
        assert!(says_not_there(&there_is_none), "{there_is_none}");
    }
    for other in [
        format!("E: Failed to fetch {at}/dists/trixie/InRelease  Could not resolve 'mirror.example.org'"),
        format!(
            "E: Failed to fetch {at}/dists/trixie/InRelease  Could not connect to mirror.example.org:80 (192.0.2.1). - connect (111: Connection refused)"
        ),
        format!(
            "W: GPG error: {at} trixie-backports InRelease: The following signatures couldn't be verified because the public key is not available: NO_PUBKEY 0123456789ABCDEF"
        ),
        format!("E: The repository '{at} trixie-backports InRelease' is not signed."),
    ] {
        assert!(!says_not_there(&other), "{other}");
    }
}

#[test]
fn what_a_metapackage_depends_on() {
    let linux = |name: &str| name.starts_with("linux-source-");
    let found = |text: &str| dependency(text, linux);
    assert_eq!(found("linux-source-6.1 (= 6.1.192-2)"), Some(("linux-source-6.1".into(), Some("6.1.192-2".into()))));
    assert_eq!(found("xz-utils, linux-source-6.1:all (>= 6.1) | x"), Some(("linux-source-6.1".into(), None)));
    assert_eq!(found("xz-utils, linux-source-6.8"), Some(("linux-source-6.8".into(), None)));
    assert_eq!(found("xz-utils"), None);
}

#[test]
fn shown_source_packages() {
    // As apt shows it, with the fields that nobody reads here left out.
    let shown = format!(
        "\
Package: zfs-linux
Binary: libnvpair3linux, zfs-dkms
Version: 2.1.11-1+deb12u1
Format: 3.0 (quilt)
Files:
 d1688215266b54f6bf8f342569edb830 3245 zfs-linux_2.1.11-1+deb12u1.dsc
 2a7b9d2a487a02d373404c48719488ed 35100716 zfs-linux_2.1.11.orig.tar.gz
 35b78b1c847409b22b8691bcf5ea0095 116548 zfs-linux_2.1.11-1+deb12u1.debian.tar.xz
Vcs-Git: https://salsa.debian.org/zfsonlinux-team/zfs.git
Checksums-Sha256:
 {SUM} 3245 zfs-linux_2.1.11-1+deb12u1.dsc
 {SUM} 35100716 zfs-linux_2.1.11.orig.tar.gz
 {SUM} 116548 zfs-linux_2.1.11-1+deb12u1.debian.tar.xz
Package-List: 
 libnvpair3linux deb contrib/libs optional arch=linux-any
 zfs-dkms deb contrib/kernel optional arch=all
Directory: pool/contrib/z/zfs-linux

"
    );
    let [package] = &source_packages(&shown.repeat(2)).unwrap()[..] else { panic!("not one package") };
    assert_eq!((package.name.as_str(), package.version.as_str()), ("zfs-linux", "2.1.11-1+deb12u1"));
    let file = |name: &str, size| DscFile { name: format!("zfs-linux_2.1.11{name}"), sha256: SUM.into(), size };
    let files =
        [file("-1+deb12u1.debian.tar.xz", 116_548), file("-1+deb12u1.dsc", 3245), file(".orig.tar.gz", 35_100_716)];
    assert_eq!(package.files, files);
    for wrong in [shown.replace("ae95", "xyzw"), shown.replace(" zfs-linux_2", " ../2"), shown.replace(".dsc", ".dcs")]
    {
        assert!(source_packages(&wrong).unwrap_err().to_string().contains("zfs-linux 2.1.11-1+deb12u1"));
    }
}
