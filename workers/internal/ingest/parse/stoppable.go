package parse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// stopGlobal is the exported global that stops a stoppable module: set it to anything but 0.
const stopGlobal = "copilot.stop"

// yieldEvery is how many turns of loops a stoppable module makes before it lets Go run: some tenths of a millisecond.
const yieldEvery = 1 << 16

// Sections of a WebAssembly module, and the kinds of things that are imported and exported.
const (
	sectionImport = 2
	sectionGlobal = 6
	sectionExport = 7
	sectionCode   = 10

	externGlobal = 3
	typeI32      = 0x7f
)

var errModule = errors.New("WebAssembly module is malformed or uses an instruction that is not known")

// stoppable rewrites a WebAssembly module so that it can be stopped from outside, and stops nobody else: at the head of every
// loop it counts, and after so many turns it gives way to Go and then traps if the switch is set.
//
// Giving way matters as much as the switch. Compiled WebAssembly cannot be preempted, so a garbage collection that begins
// meanwhile would hold the whole process, timers included, until the call returns. wazero offers both
// (WithCloseOnContextDone) by leaving the compiled code at every turn of every loop, at two to four times the run time; this
// costs a few per cent.
func stoppable(module []byte) (out []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			out, err = nil, fmt.Errorf("%w: %v", errModule, v)
		}
	}()
	const preamble = 8
	if len(module) < preamble || !bytes.HasPrefix(module, []byte("\x00asm")) {
		return nil, errModule
	}
	out = append(make([]byte, 0, len(module)+len(module)/8), module[:preamble]...)
	globals := uint64(0)
	seen := map[byte]bool{}
	for r := (wasmReader{in: module, at: preamble}); r.at < len(module); {
		id := r.byte()
		section := wasmReader{in: r.bytes(r.uint())}
		seen[id] = true
		body := section.in
		switch id {
		case sectionImport:
			globals += importedGlobals(section)
		case sectionGlobal:
			count := section.uint()
			globals += count
			body = binary.AppendUvarint(nil, count+2)
			body = append(body, section.in[section.at:]...)
			body = append(body,
				typeI32, 1, 0x41, 0, 0x0b, // the switch: mutable, initially i32.const 0
				typeI32, 1, 0x41, 1, 0x0b, // the turns left
			)
		case sectionExport:
			body = binary.AppendUvarint(nil, section.uint()+1)
			body = append(body, section.in[section.at:]...)
			body = binary.AppendUvarint(body, uint64(len(stopGlobal)))
			body = append(append(body, stopGlobal...), externGlobal)
			body = binary.AppendUvarint(body, globals)
		case sectionCode:
			body = stoppableCode(section, globals)
		}
		out = append(out, id)
		out = binary.AppendUvarint(out, uint64(len(body)))
		out = append(out, body...)
	}
	if !seen[sectionGlobal] || !seen[sectionExport] || !seen[sectionCode] {
		return nil, fmt.Errorf("%w: a section is missing", errModule)
	}
	return out, nil
}

// importedGlobals counts the globals among a module's imports.
func importedGlobals(r wasmReader) uint64 {
	globals := uint64(0)
	for range r.uint() {
		r.bytes(r.uint()) // module
		r.bytes(r.uint()) // name
		switch kind := r.byte(); kind {
		case 0: // function: its type
			r.leb()
		case 1: // table: the element type and the limits
			r.leb()
			r.limits()
		case 2: // memory
			r.limits()
		case externGlobal: // its type and whether it changes
			r.leb()
			r.byte()
			globals++
		case 4: // tag: an attribute and its type
			r.byte()
			r.leb()
		default:
			panic(fmt.Sprintf("import of kind %d", kind))
		}
	}
	return globals
}

// check is what a stoppable module does at the head of a loop.
func check(stop, turns uint64) []byte {
	global := func(out []byte, opcode byte, index uint64) []byte {
		return binary.AppendUvarint(append(out, opcode), index)
	}
	const get, set = 0x23, 0x24
	out := global(nil, get, turns)
	out = append(out, 0x41, 1, 0x6b) // i32.const 1, i32.sub
	out = global(out, set, turns)
	out = global(out, get, turns)
	out = append(out,
		0x45, 0x04, 0x40, // i32.eqz, if
		0x41, 0, 0x40, 0, 0x1a, // memory.grow by 0, which is done in Go; drop
		0x41, 0x80, 0x80, yieldEvery>>14, // i32.const yieldEvery
	)
	out = global(out, set, turns)
	out = global(out, get, stop)
	return append(out, 0x04, 0x40, 0x00, 0x0b, 0x0b) // if, unreachable, end; end
}

// stoppableCode rewrites all functions of a code section; stop is the index of the switch, and after it comes the counter.
func stoppableCode(section wasmReader, stop uint64) []byte {
	check := check(stop, stop+1)
	count := section.uint() // of functions
	out := make([]byte, 0, len(section.in)+len(section.in)/8)
	out = binary.AppendUvarint(out, count)
	function := make([]byte, 0, 64<<10)
	for range count {
		r := wasmReader{in: section.bytes(section.uint())}
		for range r.uint() { // locals: how many of which type
			r.leb()
			r.leb()
		}
		function = append(function[:0], r.in[:r.at]...)
		for r.at < len(r.in) {
			start := r.at
			opcode := r.instruction()
			function = append(function, r.in[start:r.at]...)
			if opcode == 0x03 { // loop
				function = append(function, check...)
			}
		}
		out = binary.AppendUvarint(out, uint64(len(function)))
		out = append(out, function...)
	}
	return out
}

// wasmReader reads the binary format. It panics at the end of its input and on what it does not know.
type wasmReader struct {
	in []byte
	at int
}

func (r *wasmReader) byte() byte {
	r.at++
	return r.in[r.at-1]
}

func (r *wasmReader) bytes(n uint64) []byte {
	if n > uint64(len(r.in)-r.at) {
		panic("cut off")
	}
	start := r.at
	r.at += int(n)
	return r.in[start:r.at]
}

// uint reads an unsigned integer in LEB128.
func (r *wasmReader) uint() uint64 {
	v, n := binary.Uvarint(r.in[r.at:])
	if n <= 0 {
		panic("not a number")
	}
	r.at += n
	return v
}

// leb passes over an integer in LEB128, signed or not.
func (r *wasmReader) leb() {
	for r.byte() >= 0x80 {
	}
}

// limits passes over the size of a table or a memory.
func (r *wasmReader) limits() {
	flags := r.byte()
	r.leb()
	if flags&1 != 0 {
		r.leb()
	}
}

// memarg passes over the alignment and offset of a memory access.
func (r *wasmReader) memarg() {
	if align := r.uint(); align&0x40 != 0 { // the index of a memory follows
		r.leb()
	}
	r.leb()
}

// instruction passes over one instruction with its operands and returns its opcode.
func (r *wasmReader) instruction() byte {
	opcode := r.byte()
	switch {
	case opcode >= 0x28 && opcode <= 0x3e: // loads and stores
		r.memarg()
	case opcode >= 0x45 && opcode <= 0xc4: // arithmetic
	case opcode >= 0x20 && opcode <= 0x26, // locals, globals, tables
		opcode >= 0x02 && opcode <= 0x04, opcode >= 0x06 && opcode <= 0x09, opcode == 0x18, // blocks and exceptions
		opcode == 0x0c, opcode == 0x0d, opcode == 0x10, opcode == 0x12, opcode == 0x14, opcode == 0x15, // branches and calls
		opcode >= 0x3f && opcode <= 0x42, opcode == 0xd0, opcode == 0xd2, opcode == 0xd5, opcode == 0xd6:
		r.leb()
	case opcode == 0x11, opcode == 0x13: // indirect calls
		r.leb()
		r.leb()
	case opcode == 0x43: // f32.const
		r.bytes(4)
	case opcode == 0x44: // f64.const
		r.bytes(8)
	case opcode == 0x0e, opcode == 0x1c: // br_table (and one label more), select with types
		for range r.uint() {
			r.leb()
		}
		if opcode == 0x0e {
			r.leb()
		}
	case opcode == 0x1f:
		r.tryTable()
	case opcode == 0xfc:
		r.miscellaneous()
	case opcode == 0xfd:
		r.vector()
	case opcode <= 0x01, opcode == 0x05, opcode == 0x0a, opcode == 0x0b, opcode == 0x0f, opcode == 0x19, opcode == 0x1a,
		opcode == 0x1b, opcode == 0xd1, opcode == 0xd3, opcode == 0xd4: // without operands
	default:
		panic(fmt.Sprintf("opcode %#x", opcode))
	}
	return opcode
}

// tryTable passes over the type and the catch clauses of a try_table.
func (r *wasmReader) tryTable() {
	r.leb()
	for range r.uint() {
		if kind := r.byte(); kind <= 1 { // catches a certain tag
			r.leb()
		}
		r.leb()
	}
}

// miscellaneous passes over what follows the prefix 0xfc.
func (r *wasmReader) miscellaneous() {
	switch opcode := r.uint(); opcode {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case 9, 11, 13, 15, 16, 17: // one index
		r.leb()
	case 8, 10, 12, 14: // two indexes
		r.leb()
		r.leb()
	default:
		panic(fmt.Sprintf("opcode 0xfc %d", opcode))
	}
}

// vector passes over what follows the prefix 0xfd.
func (r *wasmReader) vector() {
	switch opcode := r.uint(); {
	case opcode <= 11, opcode == 92, opcode == 93: // loads and stores
		r.memarg()
	case opcode == 12, opcode == 13: // a constant, a shuffle
		r.bytes(16)
	case opcode >= 21 && opcode <= 34: // a lane
		r.byte()
	case opcode >= 84 && opcode <= 91: // loads and stores of a lane
		r.memarg()
		r.byte()
	}
}
