//! A program that is nothing but the shim: what tests of the runtime start.

fn main() {
    std::process::exit(keelson_node_agent::runtime::shim::main(std::env::args_os().skip(1)));
}
