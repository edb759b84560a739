package app

import (
	"io"

	"github.com/tarento/copilot/gateway/internal/httpapi"
)

// defaultMaxUpload is the default of MAX_UPLOAD_BYTES, which the description of an upload names.
const defaultMaxUpload = 100 << 20

// printOpenAPI prints the OpenAPI document of a gateway with the defaults. It is the same for every build of the same operations.
func printOpenAPI(out io.Writer, form func(httpapi.OpenAPI) []byte) error {
	described, err := httpapi.Describe(httpapi.Config{Version: httpapi.APIVersion, MaxUpload: defaultMaxUpload})
	if err != nil {
		return err
	}
	_, err = out.Write(form(described))
	return err
}
