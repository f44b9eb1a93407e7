//! Link settings of the binary alone.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A fixed address: nothing is relocated at start, which costs every pod's shim private memory.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
}
