// Package configcmd is `dawk config`: it writes a first configuration file, checks
// one, and shows what is in force and where each value comes from. It changes no
// file that is there. It has no goroutines. Begin reading at Command.
package configcmd
