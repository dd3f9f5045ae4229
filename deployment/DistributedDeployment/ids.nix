{
  "ids" = {
    "ports" = {
      "disnix_tcp_proxy" = 3000;
      "hello_world_server" = 3001;
    };
  };
  "lastAssignments" = {
    "ports" = 3001;
  };
}
