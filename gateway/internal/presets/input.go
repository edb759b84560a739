package presets

// The structs say what one run takes; their tags become its JSON schema.

// RFP is what a run of an rfp agent takes.
type RFP struct {
	RFPText      string   `json:"rfp_text,omitempty" maxLength:"150000" doc:"The request, or the part of it to answer; when it is left out, the documents hold it"`
	DocumentIDs  []string `json:"document_ids,omitempty" nullable:"false" maxItems:"20" format:"uuid" doc:"Documents that belong to the request"`
	Questions    []string `json:"questions,omitempty" nullable:"false" maxItems:"50" maxLength:"4000" doc:"The questions to answer; all that the request asks when they are left out"`
	CompanyName  string   `json:"company_name,omitempty" maxLength:"200" example:"Acme Corporation" doc:"Who answers"`
	Tone         string   `json:"tone,omitempty" enum:"formal,friendly,technical" default:"formal" doc:"How the answer sounds"`
	WordsPerItem int      `json:"words_per_item,omitempty" minimum:"20" maximum:"2000" example:"200" doc:"About how long each answer may be"`
}

// Jira is what a run of a jira agent takes.
type Jira struct {
	Summary    string `json:"summary" minLength:"1" maxLength:"2000" example:"Customers cannot reset their password" doc:"What is needed, or what is wrong"`
	Context    string `json:"context,omitempty" maxLength:"50000" doc:"Whatever helps to understand it: a log, a mail, a conversation"`
	ProjectKey string `json:"project_key,omitempty" pattern:"^[A-Z][A-Z0-9_]{1,9}$" example:"SHOP" doc:"The project in Jira"`
	IssueType  string `json:"issue_type,omitempty" enum:"bug,story,task,epic" doc:"What to write; the agent decides when it is left out"`
}

// Documentation is what a run of a documentation agent takes.
type Documentation struct {
	Topic    string   `json:"topic" minLength:"1" maxLength:"2000" example:"Rotating API keys" doc:"What the page is about"`
	Audience string   `json:"audience,omitempty" enum:"user,developer,operator" default:"user" doc:"Who reads it"`
	Kind     string   `json:"kind,omitempty" enum:"tutorial,how-to,reference,explanation" default:"how-to" doc:"What kind of page it is"`
	Outline  []string `json:"outline,omitempty" nullable:"false" maxItems:"30" maxLength:"300" doc:"Headings that the page must have, in order"`
}

// HR is what a run of an hr agent takes.
type HR struct {
	Question   string `json:"question" minLength:"1" maxLength:"4000" example:"How many days of parental leave do I get?" doc:"What the employee wants to know"`
	Country    string `json:"country,omitempty" pattern:"^[A-Z]{2}$" example:"DE" doc:"Where the employee works, as an ISO 3166 code"`
	Employment string `json:"employment,omitempty" enum:"full-time,part-time,contractor,intern" doc:"How the employee is employed"`
}

// Finance is what a run of a finance agent takes.
type Finance struct {
	Question string   `json:"question" minLength:"1" maxLength:"4000" example:"How did the gross margin develop?" doc:"What to find out"`
	Period   string   `json:"period,omitempty" maxLength:"100" example:"2025-Q1 to 2025-Q4" doc:"The time it is about"`
	Currency string   `json:"currency,omitempty" pattern:"^[A-Z]{3}$" example:"EUR" doc:"The currency of the answer, as an ISO 4217 code"`
	Figures  []string `json:"figures,omitempty" nullable:"false" maxItems:"30" maxLength:"200" example:"[\"revenue\"]" doc:"Figures that the answer must name"`
}
