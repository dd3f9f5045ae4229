# The client, knowing where to connect: to the proxy if the model has one, to the server if not.
{ stdenv, writeScript, runCommand }:
{ package }:
{ hello_world_server }:

let
  client = writeScript "hello-world-client" ''
    #! ${stdenv.shell}
    exec ${package}/bin/hello-world-client ${hello_world_server.target.properties.hostname} ${toString hello_world_server.port} "$@"
  '';
in
runCommand "hello-world-client" { } ''
  install -D -m 755 ${client} $out/bin/hello-world-client
''
