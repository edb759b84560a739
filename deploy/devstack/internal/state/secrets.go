package state

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// secretBytes is the strength of a generated secret.
const secretBytes = 32

// Secrets are generated once for a folder and never shown.
type Secrets struct {
	// OwnerPassword is that of the database's owner.
	OwnerPassword string `json:"owner_password"`
	// AppPassword is that of the application's database role.
	AppPassword string `json:"app_password"`
	// EnginePassword is that of the job engine's database role.
	EnginePassword string `json:"engine_password"`
	// TokenKey signs the gateway's tokens.
	TokenKey string `json:"token_key"`
}

// Secrets returns the folder's secrets, and generates those it does not have yet.
func (f *Folder) Secrets() (Secrets, error) {
	var s Secrets
	path := f.Path("secrets.json")
	raw, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Secrets{}, fmt.Errorf("read the generated secrets: %w", err)
	}
	before := s
	for _, secret := range []*string{&s.OwnerPassword, &s.AppPassword, &s.EnginePassword, &s.TokenKey} {
		if *secret == "" {
			*secret = NewSecret()
		}
	}
	if s == before {
		return s, nil
	}
	raw, err = json.MarshalIndent(s, "", "  ")
	if err != nil {
		return Secrets{}, fmt.Errorf("write the generated secrets: %w", err)
	}
	return s, write(path, append(raw, '\n'))
}

// NewSecret returns random text of letters and digits, which needs no quoting anywhere.
func NewSecret() string {
	raw := make([]byte, secretBytes)
	_, _ = rand.Read(raw) // documented never to fail
	return hex.EncodeToString(raw)
}
