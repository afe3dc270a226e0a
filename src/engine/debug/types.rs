//! How the compiler laid out structures: where a member lies. Only of the files of the source that are asked for, since a kernel has thousands.

use addr2line::gimli::{
    AttributeValue, DebuggingInformationEntry, Dwarf, EndianSlice, LittleEndian, Unit, UnitOffset, constants as dw,
};
use std::collections::BTreeMap;

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// Structures and typedefs in each other, at most.
const DEPTH: usize = 32;

/// The structures of some files.
pub(super) struct Types<'a> {
    dwarf: &'a Dwarf<Slice<'a>>,
    files: Vec<(Unit<Slice<'a>>, BTreeMap<String, UnitOffset>)>,
}

impl<'a> Types<'a> {
    /// Those of the files whose names end like one of these.
    pub(super) fn new(dwarf: &'a Dwarf<Slice<'a>>, ends: &[&str]) -> Self {
        let mut files = Vec::new();
        let mut headers = dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            let Ok(unit) = dwarf.unit(header) else { continue };
            let name = unit.name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            // Built in the folder of its source a kernel names its files without that.
            if ends.iter().any(|end| name.ends_with(end) || end.strip_prefix('/') == Some(&name)) {
                let structures = structures(dwarf, &unit);
                files.push((unit, structures));
            }
        }
        Self { dwarf, files }
    }

    /// Bytes from the beginning of a structure to a member; by several names to a member of that member, and so on.
    pub(super) fn offset(&self, structure: &str, path: &[&str]) -> Option<u64> {
        self.each(structure).find_map(|(unit, at)| self.member(unit, at, path, DEPTH))
    }

    /// Bytes of a structure.
    pub(super) fn size(&self, structure: &str) -> Option<u64> {
        self.each(structure).find_map(|(unit, at)| unit.entry(at).ok()?.attr_value(dw::DW_AT_byte_size)?.udata_value())
    }

    fn each(&self, structure: &str) -> impl Iterator<Item = (&Unit<Slice<'a>>, UnitOffset)> {
        self.files.iter().filter_map(move |(unit, structures)| Some((unit, *structures.get(structure)?)))
    }

    fn member(&self, unit: &Unit<Slice<'a>>, structure: UnitOffset, path: &[&str], depth: usize) -> Option<u64> {
        let ([first, rest @ ..], Some(depth)) = (path, depth.checked_sub(1)) else { return None };
        let mut tree = unit.entries_tree(Some(structure)).ok()?;
        let mut children = tree.root().ok()?.children();
        while let Ok(Some(child)) = children.next() {
            let entry = child.entry();
            if entry.tag() != dw::DW_TAG_member {
                continue;
            }
            // Members of a union have no location: all lie at its beginning.
            let offset = entry.attr_value(dw::DW_AT_data_member_location).and_then(|at| at.udata_value()).unwrap_or(0);
            let name = name(self.dwarf, unit, entry);
            let within = || structure_behind(unit, type_of(entry)?);
            let inner = match name {
                Some(name) if name == *first && rest.is_empty() => Some(0),
                Some(name) if name == *first => self.member(unit, within()?, rest, depth),
                Some(_) => None,
                // The members of one without a name count as members of the structure that it is in.
                None => within().and_then(|inner| self.member(unit, inner, path, depth)),
            };
            if let Some(inner) = inner {
                return offset.checked_add(inner);
            }
        }
        None
    }
}

/// The structure that is behind a type's other names.
fn structure_behind(unit: &Unit<Slice<'_>>, mut at: UnitOffset) -> Option<UnitOffset> {
    for _ in 0..DEPTH {
        let entry = unit.entry(at).ok()?;
        match entry.tag() {
            dw::DW_TAG_typedef | dw::DW_TAG_const_type | dw::DW_TAG_volatile_type => at = type_of(&entry)?,
            dw::DW_TAG_structure_type | dw::DW_TAG_union_type => return Some(at),
            _ => return None,
        }
    }
    None
}

fn type_of(entry: &DebuggingInformationEntry<Slice<'_>>) -> Option<UnitOffset> {
    match entry.attr_value(dw::DW_AT_type)? {
        AttributeValue::UnitRef(at) => Some(at),
        _ => None,
    }
}

fn name(
    dwarf: &Dwarf<Slice<'_>>,
    unit: &Unit<Slice<'_>>,
    entry: &DebuggingInformationEntry<Slice<'_>>,
) -> Option<String> {
    let name = dwarf.attr_string(unit, entry.attr_value(dw::DW_AT_name)?).ok()?;
    Some(name.to_string_lossy().into_owned())
}

/// The structures that a file defines, by their names: those outside of functions, as no other file of C could use one that is in a function.
fn structures(dwarf: &Dwarf<Slice<'_>>, unit: &Unit<Slice<'_>>) -> BTreeMap<String, UnitOffset> {
    let mut found = BTreeMap::new();
    let Ok(mut tree) = unit.entries_tree(None) else { return found };
    let Ok(root) = tree.root() else { return found };
    let mut children = root.children();
    while let Ok(Some(child)) = children.next() {
        let entry = child.entry();
        let is_whole = entry.tag() == dw::DW_TAG_structure_type && !entry.has_attr(dw::DW_AT_declaration);
        if is_whole && let Some(name) = name(dwarf, unit, entry) {
            found.insert(name, entry.offset());
        }
    }
    found
}
