//! Names inside archives: made plain, or refused. Knows only text.

/// Bytes of a path that Linux takes (PATH_MAX). A header can say a million: each folder of such a path would be a text of its own.
const LONGEST: usize = 4096;

/// The path of an entry below the archive's one top folder; "" for that folder itself. `top` remembers its name.
pub(super) fn inside(name: &[u8], top: &mut Option<String>) -> Result<String, String> {
    let path = plain(name)?;
    // The entry "./", with which some archives begin, is the folder around the top one: nothing is to be made.
    if path.is_empty() {
        return Ok(path);
    }
    let (first, rest) = path.split_once('/').unwrap_or((&path, ""));
    let known = top.get_or_insert_with(|| first.to_owned());
    if known != first {
        return Err(format!("not in the archive's top folder `{known}`"));
    }
    Ok(rest.to_owned())
}

/// The path of an entry in the archive, without `./` and needless slashes; "" for the archive itself.
pub(super) fn plain(name: &[u8]) -> Result<String, String> {
    let name = std::str::from_utf8(name).map_err(|_| "its name is not UTF-8".to_owned())?;
    if name.len() > LONGEST {
        return Err("its name is too long".to_owned());
    }
    if name.starts_with('/') {
        return Err("its name is an absolute path".to_owned());
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err("its name leads out of the archive".to_owned());
    }
    Ok(parts.join("/"))
}

/// What a symlink says.
pub(super) enum Target {
    Relative(String),
    Absolute(String),
}

/// The target of a symlink, which is followed later, by [`super::links`].
pub(super) fn target(name: Option<&[u8]>) -> Result<Target, String> {
    let name = std::str::from_utf8(name.unwrap_or_default()).map_err(|_| "its target is not UTF-8".to_owned())?;
    match name {
        "" => Err("a link without a target".to_owned()),
        name if name.len() > LONGEST => Err("a link to a name that is too long".to_owned()),
        name if name.starts_with('/') => Ok(Target::Absolute(name.to_owned())),
        name => Ok(Target::Relative(name.to_owned())),
    }
}
