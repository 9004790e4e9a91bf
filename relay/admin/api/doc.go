// Package api is how paths under /v1 are served and described: a table of [Endpoint],
// the roles that they need, problem details for errors, and the OpenAPI document that is
// made of the table. It has no state. Begin reading at [Serve]; a part of the relay with
// paths of its own gives them to admin.Config.More.
package api
