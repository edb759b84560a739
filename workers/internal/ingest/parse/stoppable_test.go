package parse

import (
	"bytes"
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// spinning is a module with a memory and a global, whose function "spin" never returns: (loop (br 0)).
func spinning() []byte {
	return bytes.Join([][]byte{
		[]byte("\x00asm\x01\x00\x00\x00"),
		{1, 4, 1, 0x60, 0, 0},                             // types: func()
		{3, 2, 1, 0},                                      // one function of it
		{5, 3, 1, 0, 1},                                   // a memory of one page
		{6, 6, 1, typeI32, 0, 0x41, 7, 0x0b},              // a constant global
		{7, 8, 1, 4, 's', 'p', 'i', 'n', 0, 0},            // its export
		{10, 9, 1, 7, 0, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b}, // loop, br 0, and both ends
	}, nil)
}

func TestAStoppableModuleStopsInTheMiddleOfALoop(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	module, err := stoppable(spinning())
	if err != nil {
		t.Fatal(err)
	}
	machine := wazero.NewRuntime(ctx)
	defer func() { _ = machine.Close(ctx) }()
	instance, err := machine.Instantiate(ctx, module)
	if err != nil {
		t.Fatal(err)
	}
	global, ok := instance.ExportedGlobal(stopGlobal).(api.MutableGlobal)
	if !ok {
		t.Fatal("the switch is not exported")
	}
	done := make(chan error, 1)
	go func() {
		_, err := instance.ExportedFunction("spin").Call(ctx)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("ended by itself: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	runtime.GC() // would hang on code that does not give way
	global.Set(1)
	select {
	case err := <-done:
		if err == nil {
			t.Error("returned without a trap")
		}
	case <-time.After(time.Minute):
		t.Fatal("still spins")
	}
}

func TestMalformedModulesAreRefused(t *testing.T) {
	t.Parallel()
	whole := spinning()
	for n := range whole {
		if n == 8 {
			continue // a module without sections is caught for what it lacks
		}
		if _, err := stoppable(whole[:n]); err == nil {
			t.Errorf("the first %d bytes of a module were accepted", n)
		}
	}
	unknown := bytes.Replace(whole, []byte{0x0c, 0}, []byte{0xef, 0}, 1)
	if _, err := stoppable(unknown); err == nil {
		t.Error("an unknown instruction was accepted")
	}
}
