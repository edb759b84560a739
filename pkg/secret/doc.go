// Package secret keeps passwords, keys and tokens out of logs, errors and answers.
//
// A Text prints as "[redacted]" wherever Go formats, logs or encodes it, also inside another struct and under any fmt
// verb. The one way to the value is Reveal, so that every use of a secret can be found by searching for that word.
package secret
