package events

// AccessChanged is broadcast to all gateways when somebody of a tenant may do more or less than before: they forget what they
// remember of its people, sessions and API keys.
type AccessChanged struct {
	TenantID string `json:"tenant_id"`
	// Untold says that the gateway which made the change could not tell Redis, so that what Redis holds of the tenant counts for
	// nothing.
	Untold bool `json:"untold,omitempty"`
}
