export default function SubscriptionsPage() {
  return (
    <div className="page">
      <h1>Subscriptions</h1>
    </div>
  );
}
