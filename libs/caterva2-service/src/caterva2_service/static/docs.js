// A file of its own, so that the page works under a policy without inline scripts.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  // The default would send the document to a service on the internet.
  validatorUrl: null,
});
