package parse

import (
	"errors"
	"reflect"
	_ "unsafe" // for go:linkname

	"github.com/klippa-app/go-pdfium"
	// Links the module that pdfiumModule names.
	_ "github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero/api"
)

// pdfiumModule is PDFium as WebAssembly. go-pdfium embeds it and does not export it, and a second copy of 6 MB in this
// repository would have to be kept in step with the bindings by hand.
//
//go:linkname pdfiumModule github.com/klippa-app/go-pdfium/webassembly.pdfiumWasm
var pdfiumModule []byte //nolint:gochecknoglobals // not ours: go-pdfium's, and never changed

// stopSwitch returns the global that stops a worker made from a stoppable module. The bindings hold the module in a field
// of a type that cannot be named from here.
func stopSwitch(worker pdfium.Pdfium) (api.MutableGlobal, error) {
	v := reflect.Indirect(reflect.ValueOf(worker.GetImplementation()))
	if v.Kind() == reflect.Struct {
		if field := v.FieldByName("Module"); field.IsValid() && field.CanInterface() {
			if module, ok := reflect.TypeAssert[api.Module](field); ok {
				if global, ok := module.ExportedGlobal(stopGlobal).(api.MutableGlobal); ok {
					return global, nil
				}
			}
		}
	}
	return nil, errors.New("parse: this version of go-pdfium gives no access to its WebAssembly module")
}
