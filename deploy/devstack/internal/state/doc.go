// Package state keeps what outlives a run of the local system in one folder: the engines' data, generated secrets, logs and
// the addresses of everything for people who run one part by hand. One launcher at a time has the folder.
package state
