package app

import (
	"io"

	"github.com/tarento/copilot/gateway/internal/httpapi"
	"github.com/tarento/copilot/pkg/config"
)

// defaultMaxUpload is the default of MAX_UPLOAD_BYTES, which the description of an upload names.
const defaultMaxUpload = 100 << 20

// commands are what the gateway does beside serving.
func commands() []config.Command {
	return []config.Command{
		{Name: "openapi", About: "print the OpenAPI document as JSON", Run: func(out io.Writer) error {
			return printOpenAPI(out, func(d httpapi.OpenAPI) []byte { return d.JSON })
		}},
		{Name: "openapi --yaml", About: "print the OpenAPI document as YAML", Run: func(out io.Writer) error {
			return printOpenAPI(out, func(d httpapi.OpenAPI) []byte { return d.YAML })
		}},
	}
}

// printOpenAPI prints the OpenAPI document of a gateway with the defaults. It is the same for every build of the same operations.
func printOpenAPI(out io.Writer, form func(httpapi.OpenAPI) []byte) error {
	described, err := httpapi.Describe(httpapi.Config{Version: httpapi.APIVersion, MaxUpload: defaultMaxUpload})
	if err != nil {
		return err
	}
	_, err = out.Write(form(described))
	return err
}
