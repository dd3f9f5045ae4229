{ infrastructure }:

{
  hello_world_server = [ infrastructure.test1 ];
  hello_world_client = [ infrastructure.test2 ];
  disnix_tcp_proxy = [ infrastructure.test1 ];
  # Always where the proxy is
  hello_world_route = [ infrastructure.test1 ];
}
