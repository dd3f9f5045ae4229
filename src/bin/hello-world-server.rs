//! Answers `hello`, and costs nothing while nobody asks.

fn main() -> std::process::ExitCode {
    disnix_proxy_example::hello::server::main()
}
