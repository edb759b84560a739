package events

// WebhookDeliverInput is the input of a webhook.deliver job, which sends one message to one address until it is taken. What is sent,
// and with what success, stands in the delivery's record.
type WebhookDeliverInput struct {
	DeliveryID string `json:"delivery_id"`
}

// WebhookDeliverResult is the result of a webhook.deliver job. StatusCode is what the receiver answered.
type WebhookDeliverResult struct {
	DeliveryID string `json:"delivery_id"`
	StatusCode int    `json:"status_code"`
}
