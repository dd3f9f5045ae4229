{ client, disnix-proxy-example }:

client { package = disnix-proxy-example; }
