// Package queues puts jobs that do nothing through job systems: ours and two that people trust. What is left of a job then is what its
// system does about it: a durable row or key when it is taken in, a claim, an end, and whatever each writes down beside that.
//
// The workers of all systems run in this process with as many slots, beside the producers; what else a system needs, such as our
// gateway with its dispatcher, runs outside. Nothing is switched off that a system does by default.
package queues
