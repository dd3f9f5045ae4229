# The client, with the address to connect to: of the proxy if the model has one, else of the server.
{ stdenv, writeScript, runCommand, disnix-proxy-example }:
{ hello_world_server }:

let
  client = writeScript "hello-world-client" ''
    #! ${stdenv.shell}
    exec ${disnix-proxy-example}/bin/hello-world-client ${hello_world_server.target.properties.hostname} ${toString hello_world_server.port} "$@"
  '';
in
runCommand "hello-world-client" { } ''
  install -D -m 755 ${client} $out/bin/hello-world-client
''
