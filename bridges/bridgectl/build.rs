//! Compiles the contracts of all streams in, `bridges/<stream>/contract.avsc`: bridgectl serves the whole fleet from one
//! binary, and a new stream needs no line here.

use std::fmt::Write;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    let bridges = Path::new(&manifest).join("..");
    println!("cargo::rerun-if-changed={}", bridges.display());
    let mut folders: Vec<_> = fs::read_dir(&bridges)?.collect::<io::Result<_>>()?;
    folders.sort_by_key(fs::DirEntry::file_name);
    let mut table = String::from("&[\n");
    for folder in folders {
        let contract = folder.path().join("contract.avsc");
        if contract.is_file() {
            let (stream, path) = (folder.file_name(), fs::canonicalize(contract)?);
            // Writing to a String cannot fail.
            let _ = writeln!(table, "    ({:?}, include_str!({:?})),", stream.to_string_lossy(), path);
        }
    }
    table.push_str("]\n");
    fs::write(Path::new(&out).join("contracts.rs"), table)
}
