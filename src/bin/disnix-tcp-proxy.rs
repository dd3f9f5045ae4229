//! A TCP proxy whose service can be upgraded without a client seeing an error.

fn main() -> std::process::ExitCode {
    disnix_proxy_example::proxy::run::main()
}
