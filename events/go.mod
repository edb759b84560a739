module github.com/tarento/copilot/events

go 1.26.0
