"""What is done to a query before retrieval; `retrievers.transformed` puts it before a retriever."""
